"""Server-sent events: against the specification's algorithm, in any split, within bounds."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.sse import MAX_EVENT, NamedSSEParser, SSEParser

CAPTURE = b'data: {"a":1}\n\ndata: {"b":"\xc3\xa9"}\n\n: ping\n\nevent: e\ndata: x\ndata: y\n\ndata: [DONE]\n\n'
EVENTS = [(b"", b'{"a":1}'), (b"", b'{"b":"\xc3\xa9"}'), (b"e", b"x\ny"), (b"", b"[DONE]")]


def specified(stream: bytes) -> list[tuple[bytes, bytes]]:
    """WHATWG HTML, section 9.2.6, word for word, on the whole stream at once."""
    lines = re.split(b"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))
    events: list[tuple[bytes, bytes]] = []
    data, event_type = b"", b""
    for line in lines[:-1]:  # what no line end ends is not a line
        if not line:
            if data:
                events.append((event_type, data.removesuffix(b"\n")))
            data, event_type = b"", b""
            continue
        if line.startswith(b":"):
            continue
        field, colon, value = line.partition(b":")
        value = value.removeprefix(b" ") if colon else b""
        if field == b"event":
            event_type = value
        elif field == b"data":
            data += value + b"\n"
    return events


def fed(stream: bytes, cuts: list[int]) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """What both parsers make of the stream in pieces."""
    plain, named = SSEParser(), NamedSSEParser()
    places = [0, *sorted(cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(places)]
    return [e for piece in pieces for e in plain.feed(piece)], [e for piece in pieces for e in named.feed(piece)]


PARTS = st.sampled_from(
    [b"data: x\n\n"] * 4
    + [b"data: ", b"data:", b"data", b"d", b"event: e", b"event", b"id: 1", b": c", b":", b" ", b"\n", b"\n\n", b"\r"]
    + [b"\r\n", b"\r\n\r\n", b"{}", b"\xef\xbb\xbf", b"\xc3", b"retry: 5\n", b"data: \n\n", b"data:  y\n\n"]
)


@given(st.lists(PARTS, max_size=12).map(b"".join), st.lists(st.integers(0, 60), max_size=6))
def test_agrees_with_the_specification(stream: bytes, cuts: list[int]) -> None:
    """Any line ends, fields and splits, also inside a character, a line end or a byte order mark."""
    cuts = [cut for cut in cuts if cut <= len(stream)]
    expected = specified(stream)
    plain, named = fed(stream, cuts)
    assert named == expected
    assert plain == [data for _, data in expected]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
def test_every_split_and_line_end(end: bytes) -> None:
    """A stream as upstreams send it, cut in two at every place, and byte by byte."""
    stream = CAPTURE.replace(b"\n", end)
    splits = [[cut] for cut in range(len(stream) + 1)] + [list(range(1, len(stream)))]
    for cuts in splits:
        plain, named = fed(stream, cuts)
        assert (plain, named) == ([data for _, data in EVENTS], EVENTS), cuts


def test_examples_of_the_specification() -> None:
    """The streams that section 9.2.6 discusses."""
    parser = SSEParser()
    assert parser.feed(b"data: YHOO\ndata: +2\ndata: 10\n\n") == [b"YHOO\n+2\n10"]
    assert parser.feed(
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n"
    ) == [
        b"first event",
        b"second event",
    ]
    assert SSEParser().feed(b"data\n\ndata\ndata\n\ndata:") == [b"", b"\n"]
    assert SSEParser().feed(b"data:test\n\ndata: test\n\n") == [b"test", b"test"]


def test_many_events_in_one_piece() -> None:
    """Whole events of one line each come apart in one go."""
    assert SSEParser().feed(b"data: 1\n\n" * 1000) == [b"1"] * 1000


@pytest.mark.parametrize(
    ("stream", "pending"),
    [
        (b"", False),
        (b"data: x\n\n", False),
        (b": comment", False),
        (b": comment\n", False),
        (b"data: x\n", True),
        (b"data: x", True),
        (b"d", True),
        (b"\xef", True),
        (b"data: x\n\ndata: y\n", True),
        (b"data: x\r\n\r", False),
    ],
)
def test_pending_tells_a_cut_event(stream: bytes, pending: object) -> None:
    """At the end of a body: whether the last event was cut."""
    parser = SSEParser()
    parser.feed(stream)
    assert parser.pending == pending


@pytest.mark.parametrize("piece", [b"x", b"data: x\n", b": comment\n", b"data: " + b"x" * 500 + b"\n"])
def test_an_endless_event_is_an_error(piece: bytes) -> None:
    """An event that never ends is not kept; in one line or in many, comments too."""
    parser = SSEParser(limit=1000)
    for _ in range(900 // len(piece)):
        assert parser.feed(piece) == []
    with pytest.raises(ValueError, match="1000 bytes"):
        parser.feed(piece * 200)


def test_the_limit_is_for_one_event() -> None:
    """A long stream of events below the limit is fine, one event above it is not, however it comes."""
    event = b"data: " + b"x" * 90 + b"\n\n"
    parser = SSEParser(limit=100)
    assert len(parser.feed(event * 5)) == 5
    assert len([e for i in range(0, len(event) * 5, 7) for e in parser.feed((event * 5)[i : i + 7])]) == 5
    with pytest.raises(ValueError, match="80 bytes"):
        SSEParser(limit=80).feed(event)
    assert MAX_EVENT >= 1 << 20


def test_a_long_event_in_small_pieces_takes_linear_time() -> None:
    """Half a million pieces of one event are gathered, not searched again and again."""
    parser = SSEParser()
    parser.feed(b"data: ")
    for _ in range(500_000):
        parser.feed(b"x")
    assert parser.feed(b"\n\n") == [b"x" * 500_000]


def test_what_a_real_vllm_sends() -> None:
    """A captured stream: each chunk is one event, JSON but for the last, and is passed on as it is."""
    capture = orjson.loads(Path("tests/fixtures/vllm/chat-stream.json").read_bytes())
    chunks = [text.encode() for _, text in capture["response"]["chunks"]]
    parser = SSEParser()
    payloads = [payload for chunk in chunks for payload in parser.feed(chunk)]
    assert b"".join(b"data: %s\n\n" % payload for payload in payloads) == b"".join(chunks)
    assert payloads[-1] == b"[DONE]"
    assert all("choices" in orjson.loads(payload) for payload in payloads[:-1])
    assert not parser.pending
