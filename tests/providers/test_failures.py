"""Every foreign exception has a meaning in every phase, and every meaning can come about."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import inspect
import socket
import ssl
import zlib
from types import ModuleType

import httptools
import httpx2
import pytest

from app.errors import TIMEOUTS, Failure
from app.providers.failures import FOREIGN, Phase, classify, describe, upstream_failure

NEVER_RAISED_BY_THE_LIBRARIES = {
    asyncio.CancelledError,  # goes through as it is
    asyncio.InvalidStateError,  # what remains are mistakes of ours: futures, barriers, queues, tasks
    asyncio.BrokenBarrierError,
    asyncio.QueueEmpty,
    asyncio.QueueFull,
    asyncio.LimitOverrunError,
    asyncio.SendfileNotAvailableError,
    httptools.HttpParserInvalidMethodError,  # of requests
    httpx2.CookieConflict,  # of the client above the transport, which is not used
}


def exceptions_of(module: ModuleType) -> set[type[Exception]]:
    """The exception classes that a module offers."""
    found = [value for name, value in inspect.getmembers(module, inspect.isclass) if not name.startswith("_")]
    return {value for value in found if issubclass(value, Exception)} - {Exception}


def oserrors() -> set[type[Exception]]:
    """The classes that errno values turn into."""
    return {type(OSError(number, "")) for number in errno.errorcode}


RAISED = (
    exceptions_of(asyncio)
    | exceptions_of(ssl)
    | exceptions_of(socket)
    | exceptions_of(httptools)
    | exceptions_of(httpx2)
    | oserrors()
    | {zlib.error, UnicodeError, UnicodeEncodeError, OverflowError, ssl.SSLCertVerificationError}
) - NEVER_RAISED_BY_THE_LIBRARIES


def made(kind: type[Exception]) -> Exception:
    """An instance."""
    if kind is UnicodeEncodeError:
        return UnicodeEncodeError("idna", "x", 0, 1, "label too long")
    if kind is asyncio.IncompleteReadError:
        return asyncio.IncompleteReadError(b"", 1)
    if kind is httpx2.HTTPStatusError:
        request = httpx2.Request("GET", "http://upstream.example")
        return httpx2.HTTPStatusError("why", request=request, response=httpx2.Response(500, request=request))
    try:
        return kind("why")
    except TypeError:
        return kind()


@pytest.mark.parametrize("kind", sorted(RAISED, key=str))
@pytest.mark.parametrize("phase", Phase)
def test_the_map_is_total(kind: type[Exception], phase: Phase) -> None:
    """Every exception that the libraries raise is caught at the seam and means something, whatever the phase."""
    error = made(kind)
    assert isinstance(error, FOREIGN)
    failure = upstream_failure(error, phase)
    assert failure.failure in Failure
    assert failure.sent == (phase > Phase.CONNECT)
    assert kind.__name__ in failure.detail


def test_the_classes_were_found() -> None:
    """The list above is no empty one."""
    assert {ConnectionResetError, socket.gaierror, ssl.SSLEOFError, httpx2.ReadTimeout, TimeoutError} <= RAISED
    assert concurrent.futures.CancelledError not in FOREIGN


def test_nothing_else_is_caught() -> None:
    """Bugs and cancellation go through the seam."""
    for kind in (KeyError, TypeError, AttributeError, AssertionError, RuntimeError, asyncio.CancelledError):
        assert not issubclass(kind, FOREIGN)


@pytest.mark.parametrize(
    ("error", "meanings"),
    [
        (ConnectionRefusedError(), (Failure.CONNECT, Failure.CLOSED, Failure.TRUNCATED)),
        (ConnectionResetError(), (Failure.CONNECT, Failure.CLOSED, Failure.TRUNCATED)),
        (BrokenPipeError(), (Failure.CONNECT, Failure.CLOSED, Failure.TRUNCATED)),
        (socket.gaierror(-2, "unknown"), (Failure.CONNECT, Failure.CLOSED, Failure.TRUNCATED)),
        (ssl.SSLCertVerificationError(), (Failure.CONNECT, Failure.CLOSED, Failure.TRUNCATED)),
        (TimeoutError(), (Failure.CONNECT_TIMEOUT, Failure.FIRST_BYTE_TIMEOUT, Failure.BETWEEN_BYTES_TIMEOUT)),
        (httpx2.ReadTimeout(""), (Failure.CONNECT_TIMEOUT, Failure.FIRST_BYTE_TIMEOUT, Failure.BETWEEN_BYTES_TIMEOUT)),
        (httpx2.ConnectTimeout(""), (Failure.CONNECT_TIMEOUT,) * 3),
        (httpx2.ProxyError("403"), (Failure.CONNECT,) * 3),
        (httptools.HttpParserError("bad"), (Failure.PROTOCOL,) * 3),
        (httpx2.RemoteProtocolError("illegal header line"), (Failure.PROTOCOL,) * 3),
        (
            httpx2.RemoteProtocolError("Server disconnected without sending a response."),
            (Failure.CONNECT, Failure.CLOSED, Failure.TRUNCATED),
        ),
        (zlib.error("bomb"), (Failure.PROTOCOL,) * 3),
        (UnicodeError("label too long"), (Failure.CONNECT, Failure.PROTOCOL, Failure.PROTOCOL)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_they_mean(error: Exception, meanings: tuple[Failure, ...]) -> None:
    """By phase: connecting, waiting for the head, reading the body."""
    assert tuple(classify(error, phase) for phase in Phase) == meanings


def test_every_failure_can_come_about() -> None:
    """Each member of `Failure` is reached from here, or is the deadline's own."""
    reached = {classify(made(kind), phase) for kind in RAISED for phase in Phase}
    assert reached == set(Failure) - {Failure.TOTAL_TIMEOUT}
    assert set(Failure) - reached < TIMEOUTS


def test_description_is_one_line_with_the_class() -> None:
    """What logs get."""
    assert describe(ConnectionResetError(104, "reset")) == "ConnectionResetError: [Errno 104] reset"
    assert describe(TimeoutError()) == "TimeoutError"
