"""The one seam where foreign exceptions become `UpstreamFailure`.

`FOREIGN` is what asyncio, sockets, TLS, httptools, zlib and httpx2 can raise while a request is under way. What is not
in it is a bug in the gateway and is not caught here.
"""

from __future__ import annotations

import ssl
import zlib
from enum import IntEnum
from typing import Final

import h2.exceptions
import httptools
import httpx2
import socksio

from app.errors import Failure, UpstreamFailure


class Phase(IntEnum):
    """How far an exchange has come."""

    CONNECT = 0  # no byte of the request has been written
    HEAD = 1  # no byte of the response has come
    BODY = 2  # the response has begun


PARSER_ERRORS: Final = (httptools.HttpParserError, httptools.HttpParserUpgrade)

FOREIGN: Final[tuple[type[Exception], ...]] = (
    OSError,  # with TimeoutError, socket.gaierror, ssl.SSLError and every errno's class
    EOFError,  # asyncio.IncompleteReadError
    ValueError,  # a host that is no name (UnicodeError), a port out of range
    OverflowError,  # getaddrinfo, on a port beyond a C long
    zlib.error,
    *PARSER_ERRORS,
    httpx2.HTTPError,
    httpx2.InvalidURL,
    httpx2.StreamError,
    h2.exceptions.H2Error,  # httpx2 lets it through while a body is read
    socksio.SOCKSError,  # and this one while a proxy is greeted
)

_LOST: Final = (Failure.CONNECT, Failure.CLOSED, Failure.TRUNCATED)
_LATE: Final = (Failure.CONNECT_TIMEOUT, Failure.FIRST_BYTE_TIMEOUT, Failure.BETWEEN_BYTES_TIMEOUT)
_GARBLED: Final = (Failure.PROTOCOL, Failure.PROTOCOL, Failure.PROTOCOL)

# The first row whose class fits decides; one column per phase.
_ROWS: Final[tuple[tuple[type[Exception], tuple[Failure, Failure, Failure]], ...]] = (
    (ssl.SSLError, _LOST),
    (TimeoutError, _LATE),
    (OSError, _LOST),
    (EOFError, _LOST),
    (httpx2.ConnectTimeout, (Failure.CONNECT_TIMEOUT,) * 3),
    (httpx2.PoolTimeout, (Failure.CONNECT_TIMEOUT,) * 3),
    (httpx2.TimeoutException, _LATE),
    (httpx2.ConnectError, (Failure.CONNECT,) * 3),
    (httpx2.ProxyError, (Failure.CONNECT,) * 3),
    (httpx2.UnsupportedProtocol, (Failure.CONNECT,) * 3),
    (httpx2.InvalidURL, (Failure.CONNECT,) * 3),
    (socksio.SOCKSError, (Failure.CONNECT,) * 3),
    (httpx2.NetworkError, _LOST),
    (httpx2.RemoteProtocolError, _GARBLED),  # unless its message tells of a lost connection: `_GONE`
    (httpx2.HTTPError, _GARBLED),
    (httpx2.StreamError, _GARBLED),
    (h2.exceptions.H2Error, _GARBLED),
    (zlib.error, _GARBLED),
    (httptools.HttpParserError, _GARBLED),
    (httptools.HttpParserUpgrade, _GARBLED),
    (ValueError, (Failure.CONNECT, Failure.PROTOCOL, Failure.PROTOCOL)),
    (OverflowError, (Failure.CONNECT, Failure.PROTOCOL, Failure.PROTOCOL)),
)

# How httpcore2 words a connection or HTTP/2 stream that ended too early; it has one class for that and for garbage.
_GONE: Final = ("Server disconnected", "peer closed connection", "<StreamReset", "<ConnectionTerminated")


def classify(error: Exception, phase: Phase) -> Failure:
    """What `error`, an instance of one of `FOREIGN`, means in `phase`."""
    if isinstance(error, httpx2.RemoteProtocolError) and str(error).startswith(_GONE):
        return _LOST[phase]
    return next(columns for row, columns in _ROWS if isinstance(error, row))[phase]


def upstream_failure(error: Exception, phase: Phase, *, sent: bool | None = None) -> UpstreamFailure:
    """The `UpstreamFailure` for `error`; `sent` follows from the phase unless given."""
    failure = classify(error, phase)
    return UpstreamFailure(failure, describe(error), sent=phase > Phase.CONNECT if sent is None else sent)


def describe(error: BaseException) -> str:
    """One line for logs: the class, and what it says."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
