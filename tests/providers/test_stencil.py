"""What is known at a glance: whatever a stream holds, a reader who glances ends where one who reads all of it does."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.answers import events
from app.exchange import Usage
from app.providers import stencil
from app.providers.openai import OpenAI, OpenAIDecoder
from app.providers.sse import MAX_EVENT
from app.providers.vllm import Vllm
from tests.pipeline.parts import call
from tests.providers.test_openai import CAPTURES, stream_of

BEFORE = b'{"id":"c","choices":[{"index":0,"delta":{"content":"'
AFTER = b'"},"finish_reason":null}]}'
RUNNING = b'"},"finish_reason":null}],"usage":{"prompt_tokens":5,"total_tokens":6,"completion_tokens":1,"x":null}}'
DIALECTS = {"openai": OpenAI(), "vllm": Vllm()}
RECORDED = sorted(path.stem for path in CAPTURES.glob("*-stream*.json") if not path.stem.startswith("error"))


class Read(NamedTuple):
    """What came of a stream: the bytes for the caller, tokens, the last usage, how it ended, pieces only glanced at."""

    sent: bytes
    tokens: int
    usage: Usage | None
    ended: str
    glances: int = 0


def read(reader: OpenAIDecoder, pieces: list[bytes], *, glancing: bool) -> Read:
    """Read a stream as `Answer` does."""
    sent, tokens, glances, ended = b"", 0, 0, "open"
    usage: Usage | None = None
    for piece in pieces:
        if glancing and piece and (known := reader.glance(piece)):
            sent, tokens, glances, usage = sent + known, tokens + reader.glanced, glances + 1, reader.usage or usage
            continue
        try:
            batch = reader.feed(piece)
        except ValueError as error:
            ended = str(error)
            break
        sent += events(batch)
        tokens += sum(event.tokens for event in batch)
        usage = next((event.usage for event in reversed(batch) if event.usage is not None), usage)
        if reader.finished or reader.failure is not None:
            ended = "finished" if reader.finished else f"failed {reader.failure}"
            break
    return Read(sent, tokens, usage, ended, glances)


def same(dialect: str, pieces: list[bytes], **fields: Any) -> int:
    """Both ways come to the same; how many pieces were only glanced at."""
    glanced, whole = (
        read(DIALECTS[dialect].decoder(call(stream=True, **fields)), pieces, glancing=how) for how in (True, False)
    )
    assert documents(glanced.sent) == documents(whole.sent)
    assert dialect == "vllm" or glanced.sent == whole.sent
    assert glanced[1:4] == whole[1:4]
    return glanced.glances


def documents(sent: bytes) -> list[object]:
    """The documents of a stream: what vLLM's usage is taken out of is written anew, so bytes may differ, not JSON."""
    return [orjson.loads(event.removeprefix(b"data: ")) for event in sent.split(b"\n\n") if event]


def chunk(text: bytes, *, usage: bytes = b"", finish: bytes = b"null", key: bytes = b"content") -> bytes:
    """One event."""
    choice = b'{"index":0,"delta":{"%b":"%b"},"logprobs":null,"finish_reason":%b}' % (key, text, finish)
    return b'data: {"id":"chatcmpl-1","model":"m","choices":[%b]%b}\n\n' % (choice, usage)


def usage_of(made: int) -> bytes:
    """vLLM's running usage."""
    return b',"usage":{"prompt_tokens":5,"total_tokens":%d,"completion_tokens":%d}' % (5 + made, made)


TEXTS = st.sampled_from(
    [
        b"a", b" water", b"", b'\\"', b"\\\\", b"\\n", b'\\",\\"x\\":\\"', b"\xc3\xa9", b"\\u00e9", b"\\ud83d", b"\xff",
        b"\n", b"\t", b"\\x", b'"},{"', b'"', b"\\", b'"}}],"usage":{', b'a"},"logprobs":null,"finish_reason":"stop',
    ]
)  # fmt: skip
CHUNKS = st.builds(
    chunk,
    TEXTS,
    usage=st.one_of(
        st.just(b""),
        st.builds(usage_of, st.integers(0, 999)),
        st.sampled_from([usage_of(-3), b',"usage":null', usage_of(3).replace(b"3", b"03"), b',"error":{"code":500}']),
    ),
    finish=st.sampled_from([b"null"] * 9 + [b'"stop"']),
    key=st.sampled_from([b"content"] * 4 + [b"reasoning_content", b"refusal", b"content_"]),
)
ODD = st.sampled_from(
    [
        b"data: [DONE]\n\n", b": ping\n\n", b"data: {", b"}\n\n", b"\n", b"\r\n", b"event: x\n", b"data: \n\n",
        chunk(b"a").replace(b"\n", b"\r\n"), chunk(b"a")[:-1], chunk(b"a") + b"data: ", chunk(b"b")[6:], b"",
        b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":9}}\n\n', b'data: {"error":"x"}\n\n',
    ]
)  # fmt: skip
PIECES = st.one_of(CHUNKS, CHUNKS, CHUNKS, st.lists(CHUNKS, min_size=2, max_size=3).map(b"".join), ODD)
STREAMS = st.tuples(st.lists(st.builds(chunk, TEXTS), max_size=3), st.lists(PIECES, max_size=8)).map(
    lambda parts: parts[0] + parts[1]
)


@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(DIALECTS)), STREAMS, st.booleans(), st.integers(1, 2))
def test_a_glance_is_as_good_as_a_look(dialect: str, pieces: list[bytes], asked: bool, n: int) -> None:  # noqa: FBT001 -- drawn
    """Sound and broken events in any order: same bytes, same tokens, same usage, same end."""
    options = {"include_usage": True, "continuous_usage_stats": True} if asked else {}
    same(dialect, pieces, stream_options=options, n=n)


@pytest.mark.parametrize(
    "number", [b"\n5", b" 5", b"05", b"+5", b"-5", b"5.0", b"", b"5e1", b"5\r", b"\xc2\xb2", b"1_0"]
)
def test_no_number_is_taken_for_one(number: bytes) -> None:
    """A count that is not plainly one is for the parser, be it wrong or only unusual."""
    found = stencil.running(BEFORE + b"hi" + RUNNING, asked=False)
    assert found is not None
    for name in (b":6", b":1"):
        assert not found[0].trace(b"data: " + BEFORE + b"you" + RUNNING.replace(name, b":" + number) + b"\n\n")


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_changed_byte_is_not_overlooked(data: st.DataObject) -> None:
    """A byte changed, put in or taken out anywhere in a chunk like those before it."""
    dialect = data.draw(st.sampled_from(sorted(DIALECTS)))
    usage = data.draw(st.booleans()) and dialect == "vllm"
    pieces = [chunk(b"t%d" % made, usage=usage_of(made) if usage else b"") for made in range(1, 6)]
    at = data.draw(st.integers(0, len(pieces[4]) - 1))
    byte = data.draw(st.sampled_from([bytes([value]) for value in b'\n\r "\\:{}[]0,x\xff\x00']))
    kept = data.draw(st.sampled_from([pieces[4][at:], pieces[4][at + 1 :]]))
    pieces[4] = pieces[4][:at] + byte + kept
    assert same(dialect, [*pieces, chunk(b"end", finish=b'"stop"'), b"data: [DONE]\n\n"]) >= 2


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_recorded_streams(dialect: str, name: str) -> None:
    """What a real vLLM sent, event by event and in larger pieces."""
    whole = stream_of(name).split(b"\n\n")[:-1]
    for together in (1, 2, 3):
        pieces = [
            b"".join(b"%b\n\n" % one for one in whole[at : at + together]) for at in range(0, len(whole), together)
        ]
        same(dialect, pieces)


@pytest.mark.parametrize(("dialect", "usage"), [("openai", False), ("vllm", False), ("vllm", True)])
def test_all_but_the_first_is_only_glanced_at(dialect: str, usage: bool) -> None:  # noqa: FBT001 -- a parameter
    """The usual stream: the first chunk is read for the stencil, the rest is not, also when several come at once."""
    chunks = [chunk(b" w%d" % made, usage=usage_of(made) if usage else b"") for made in range(1, 12)]
    pieces = [*chunks[:9], chunks[9] + chunks[10], chunk(b"", finish=b'"stop"'), b"data: [DONE]\n\n"]
    assert same(dialect, pieces) == 9


def test_chunks_that_differ_are_read() -> None:
    """A stream whose chunks never resemble each other costs a bounded number of stencils."""
    pieces = [chunk(b"a", usage=b',"obfuscation":"%d"' % place) for place in range(40)]
    assert same("openai", pieces) == 0


def test_a_plain_chunk_is_found() -> None:
    """The text is cut out, whatever stands around it."""
    found = stencil.plain(BEFORE + b"hi" + AFTER)
    assert found is not None
    piece = b"data: " + BEFORE + b'\\"quoted\\" \xe2\x82\xac' + AFTER + b"\n\n"
    assert (found.trace(piece * 3), found.events) == (piece * 3, 3)


@pytest.mark.parametrize(
    "data",
    [
        BEFORE + AFTER,
        BEFORE + b"a\\n" + AFTER,
        b'{"choices":[{"delta":{"tool_calls":[]}}]}',
        BEFORE + b"a" + AFTER[:-1] + b',"content":"b"}',
        BEFORE + b"a\n" + AFTER,
    ],
)
def test_no_stencil_of_what_is_not_sure(data: bytes) -> None:
    """No text, an escape in it, no such field, two of them, several lines."""
    assert stencil.plain(data) is None
    assert stencil.running(data, asked=False) is None


def test_usage_is_found_and_taken_out() -> None:
    """The running count is read, and the rest of the chunk stays as it was, byte for byte."""
    found = stencil.running(BEFORE + b"hi" + RUNNING, asked=False)
    assert found is not None
    shape, prompt = found
    later = RUNNING.replace(b":6", b":46").replace(b":1", b":41")
    assert shape.trace(b"data: " + BEFORE + b" you" + later + b"\n\n") == b"data: " + BEFORE + b" you" + AFTER + b"\n\n"
    assert (prompt, shape.events, shape.made) == (5, 1, 41)


def test_an_event_that_is_too_large_is_not_for_a_glance() -> None:
    """The bound of an event holds: what is over it is left to the reader, who refuses it."""
    found = stencil.plain(BEFORE + b"hi" + AFTER)
    assert found is not None
    assert not found.trace(b"data: " + BEFORE + b"x" * MAX_EVENT + AFTER + b"\n\n")
