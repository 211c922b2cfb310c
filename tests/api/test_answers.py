"""Answers as ASGI messages: what is in them, byte for byte."""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.answers import DONE, error_event, events, send_error, send_json, start_stream
from app.errors import RATE_LIMIT_EXCEEDED, GatewayError
from app.exchange import Event
from app.providers.sse import SSEParser


class Sent(list[MutableMapping[str, Any]]):
    """Takes messages as an ASGI server does."""

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        """Take one."""
        self.append(message)

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Of the head that was sent."""
        return dict(self[0]["headers"])


async def test_json() -> None:
    """Length and type are right, and the given headers are there."""
    sent = Sent()
    await send_json(sent, 201, b'{"a":1}', [(b"x-request-id", b"r")])
    assert sent[0]["status"] == 201
    assert sent.headers == {b"content-type": b"application/json", b"content-length": b"7", b"x-request-id": b"r"}
    assert sent[1]["body"] == b'{"a":1}'


@pytest.mark.parametrize(("seconds", "header"), [(None, None), (0.0, b"0"), (0.2, b"1"), (7.0, b"7"), (7.01, b"8")])
async def test_retry_after_is_rounded_up(seconds: float | None, header: bytes | None) -> None:
    """Nobody is told to come back too early."""
    sent = Sent()
    await send_error(sent, GatewayError(RATE_LIMIT_EXCEEDED, "slow down", retry_after=seconds), [])
    assert sent.headers.get(b"retry-after") == header
    error = orjson.loads(sent[1]["body"])["error"]
    assert error == {"message": "slow down", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}


async def test_stream_head() -> None:
    """An event stream is never cached and has no length."""
    sent = Sent()
    await start_stream(sent, [])
    assert sent.headers[b"content-type"].startswith(b"text/event-stream")
    assert sent.headers[b"cache-control"] == b"no-cache"
    assert b"content-length" not in sent.headers


@pytest.mark.parametrize(
    ("hidden", "text"),
    [
        ((False,), b"data: 0\n\n"),
        ((True,), b""),
        ((), b""),
        ((False, False), b"data: 0\n\ndata: 1\n\n"),
        ((False, True), b"data: 0\n\n"),
        ((True, True), b""),
    ],
)
def test_events(hidden: tuple[bool, ...], text: bytes) -> None:
    """What is hidden from the caller leaves no trace; the rest goes out as it came, in order."""
    batch = [Event(b"%d" % place, {}, hidden=one) for place, one in enumerate(hidden)]
    assert events(batch) == text


@given(st.lists(st.tuples(st.text() | st.lists(st.integers() | st.text()), st.booleans()), max_size=5))
def test_events_are_read_back(held: list[tuple[object, bool]]) -> None:
    """Whatever text they hold, a parser of event streams finds them again, but for those that are hidden."""
    batch = [Event(json.dumps(value).encode(), {}, hidden=hidden) for value, hidden in held]
    read = [json.loads(data) for data in SSEParser().feed(events(batch) + DONE)[:-1]]
    assert read == [value for value, hidden in held if not hidden]


def test_error_event_is_one_event() -> None:
    """A line break in a message does not break the event."""
    text = error_event(GatewayError(RATE_LIMIT_EXCEEDED, "two\nlines"))
    assert text.count(b"\n") == 2
    assert orjson.loads(text.removeprefix(b"data: "))["error"]["message"] == "two\nlines"


def test_done_is_openais() -> None:
    """The last event of every stream that ended well."""
    assert DONE == b"data: [DONE]\n\n"
