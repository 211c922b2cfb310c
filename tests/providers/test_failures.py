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

import h2.exceptions
import httptools
import httpx2
import pytest
import socksio.exceptions

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
    | exceptions_of(h2.exceptions)
    | exceptions_of(socksio.exceptions)
    | oserrors()
    | {zlib.error, UnicodeError, UnicodeEncodeError, OverflowError, ssl.SSLCertVerificationError}
) - NEVER_RAISED_BY_THE_LIBRARIES


ARGUMENTS: dict[type[Exception], tuple[object, ...]] = {
    UnicodeEncodeError: ("idna", "x", 0, 1, "label too long"),
    h2.exceptions.InvalidBodyLengthError: (1, 2),
    h2.exceptions.StreamIDTooLowError: (1, 2),
}


def made(kind: type[Exception]) -> Exception:
    """An instance; what it would say in earnest does not matter."""
    return kind(*ARGUMENTS[kind]) if kind in ARGUMENTS else kind.__new__(kind, "why")


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
