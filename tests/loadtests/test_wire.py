"""The generator's reading of HTTP: whole, in every split, and wrong."""

from __future__ import annotations

import pytest

from loadtests.wire import Reply, WireError, request_bytes

SIZED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\nhello world"
EVENTS = b'data: {"a":1}\n\n', b'data: {"b":2}\n\n', b"data: [DONE]\n\n"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    + b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS)
    + b"0\r\n\r\n"
)
INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + SIZED


@pytest.mark.parametrize(
    ("wire", "body"), [(SIZED, b"hello world"), (CHUNKED, b"".join(EVENTS)), (INTERIM, b"hello world")]
)
def test_a_response_is_read_in_every_split(wire: bytes, body: bytes) -> None:
    """Two pieces, cut at every byte, and byte by byte."""
    for pieces in [*((wire[:at], wire[at:]) for at in range(1, len(wire))), [bytes([byte]) for byte in wire]]:
        reply = Reply()
        for piece in pieces:
            assert not reply.done
            reply.feed(piece)
        assert (reply.done, reply.status, reply.body) == (True, 200, body)


def test_events_are_counted_wherever_they_are_cut() -> None:
    """No event is lost at a border, and none is counted twice."""
    for at in range(1, len(CHUNKED)):
        reply = Reply()
        reply.feed(CHUNKED[:at])
        reply.feed(CHUNKED[at:])
        assert reply.events == len(EVENTS)


def test_without_a_length_the_answer_ends_with_the_connection() -> None:
    """And the connection cannot be used again."""
    reply = Reply()
    reply.feed(b"HTTP/1.1 200 OK\r\n\r\nhello")
    assert not reply.done
    reply.feed_eof()
    assert (reply.done, reply.body, reply.closes) == (True, b"hello", True)


def test_a_connection_that_will_close_says_so() -> None:
    """In any case of letters."""
    reply = Reply()
    reply.feed(b"HTTP/1.1 401 Unauthorized\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n")
    assert (reply.done, reply.closes, reply.status) == (True, True, 401)


@pytest.mark.parametrize(
    "wire",
    [
        SIZED + b"x",
        CHUNKED + b"x",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_response_is_a_fault(wire: bytes) -> None:
    """Surplus bytes, another protocol, a length that is none."""
    with pytest.raises((WireError, ValueError)):
        Reply().feed(wire)


@pytest.mark.parametrize("at", range(len(SIZED)))
def test_a_connection_that_ends_early_is_a_fault(at: int) -> None:
    """At whatever byte."""
    reply = Reply()
    reply.feed(SIZED[:at])
    with pytest.raises(WireError, match="within" if reply.status else "before"):
        reply.feed_eof()


def test_a_request_is_complete() -> None:
    """Head, length, body; a length of its own is left alone."""
    wire = request_bytes("POST", "/x", {"host": "h"}, b"{}")
    assert wire == b"POST /x HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}"
    assert request_bytes("POST", "/x", {"content-length": "9"}).count(b"content-length") == 1
    assert b"content-length" not in request_bytes("GET", "/x", {"host": "h"})
