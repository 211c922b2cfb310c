"""OpenAI's dialect: what goes up, what comes back, in any split; checked against what a real vLLM answered."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import GatewayError
from app.exchange import Event, Operation, Usage
from app.providers.openai import OpenAI, OpenAIDecoder, error_status, read_usage
from tests.pipeline.parts import call, deployment

CAPTURES = Path(__file__).resolve().parents[1] / "fixtures" / "vllm"


def capture(name: str) -> dict[str, Any]:
    """An exchange with a real vLLM."""
    found: dict[str, Any] = orjson.loads((CAPTURES / f"{name}.json").read_bytes())
    return found


def stream_of(name: str) -> bytes:
    """The whole body of a recorded stream."""
    return "".join(text for _, text in capture(name)["response"]["chunks"]).encode()


def decoder(operation: Operation = Operation.CHAT, **fields: Any) -> OpenAIDecoder:
    """A decoder for a streamed call."""
    return OpenAI().decoder(call(operation, stream=True, **fields))


def all_events(reader: OpenAIDecoder, *pieces: bytes) -> list[Event]:
    """What a stream in these pieces holds."""
    return [event for piece in pieces for event in reader.feed(piece)]


def chunk(**fields: Any) -> bytes:
    """One event of one choice."""
    choice = {"index": 0, "delta": {}, "finish_reason": None, **fields}
    return b"data: " + orjson.dumps({"id": "c", "choices": [choice]}) + b"\n\n"


def test_an_event_of_several_lines_becomes_one() -> None:
    """JSON that an upstream writes over several `data` lines reaches the caller on one, or he would lose the rest."""
    events = all_events(decoder(), b'data: {"choices":\ndata: [{"index":0,"delta":{"content":"a"}}]}\n\n')
    assert [(event.data, event.tokens) for event in events] == [
        (b'{"choices": [{"index":0,"delta":{"content":"a"}}]}', 1)
    ]


# --- what goes up


def test_only_the_models_name_changes() -> None:
    """Every field of the caller goes up as it came, but for `model`."""
    asked = call(temperature=0.5, tools=[{"type": "function"}], x_unknown={"a": [1, None]})
    sent = OpenAI().encode(asked, deployment(model="upstream-name"), "req_1")
    assert orjson.loads(sent.body) == {**asked.body, "model": "upstream-name"}
    assert (sent.method, sent.path, sent.stream) == ("POST", "/chat/completions", False)
    assert asked.body["model"] == "chat"


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        (Operation.CHAT, "/chat/completions"),
        (Operation.COMPLETION, "/completions"),
        (Operation.EMBEDDINGS, "/embeddings"),
    ],
)
def test_paths(operation: Operation, path: str) -> None:
    """Each operation has its own."""
    assert OpenAI().encode(call(operation), deployment(), "req_1").path == path


def test_streams_are_asked_for_usage() -> None:
    """Always, and beside whatever options the caller gave."""
    given_options = {"include_usage": False, "x": 1}
    sent = OpenAI().encode(call(stream=True, stream_options=given_options), deployment(), "req_1")
    assert orjson.loads(sent.body)["stream_options"] == {"include_usage": True, "x": 1}


def test_headers() -> None:
    """The deployment's key as a bearer token, our id, and nothing of the caller's."""
    names = [name for name, _ in OpenAI().encode(call(), deployment(), "req_1").headers]
    assert ("x-request-id", "req_1") in OpenAI().encode(call(), deployment(), "req_1").headers
    assert len(names) == len(set(names))


def test_what_cannot_be_written_is_refused() -> None:
    """orjson reads deeper than it writes: such a body is the caller's fault, not a bug."""
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    asked = call()
    with pytest.raises(GatewayError, match="nested"):
        OpenAI().encode(asked._replace(body={**asked.body, "x": deep}), deployment(), "req_1")


@pytest.mark.parametrize("operation", [Operation.RERANK, Operation.SCORE, Operation.TOKENIZE])
def test_what_openai_does_not_have(operation: Operation) -> None:
    """Is refused, not sent to a path that may not exist."""
    with pytest.raises(GatewayError) as refused:
        OpenAI().encode(call(operation), deployment("two"), "req_1")
    assert (refused.value.status, refused.value.param) == (400, "model")


def test_reasoning_models_take_their_own_cap() -> None:
    """OpenAI's refuse `max_tokens`; other names, and other servers, get what the caller wrote."""
    for model, name in (
        ("o3-mini", "max_completion_tokens"),
        ("gpt-5.1", "max_completion_tokens"),
        ("gpt-4o", "max_tokens"),
    ):
        body = orjson.loads(OpenAI().encode(call(max_tokens=9), deployment("two", model=model), "req_1").body)
        assert {key: value for key, value in body.items() if key.startswith("max_")} == {name: 9}
    assert b'"max_tokens"' in OpenAI().encode(call(max_tokens=9), deployment(model="o3-like"), "req_1").body


# --- what comes back


@pytest.mark.parametrize("name", ["chat-stream-usage", "chat-stream-length", "completion-stream-usage"])
@given(cuts=st.lists(st.integers(0, 20_000), max_size=8))
def test_any_split_gives_the_same_events(name: str, cuts: list[int]) -> None:
    """A real stream, cut anywhere: the same data, tokens and usage, and an end."""
    body = stream_of(name)
    edges = sorted({0, len(body), *(cut % len(body) for cut in cuts)})
    whole, split = decoder(), decoder()
    expected = all_events(whole, body)
    assert all_events(split, *(body[start:end] for start, end in pairwise(edges))) == expected
    assert expected
    assert split.finished
    assert whole.finished


def test_recorded_usage_is_read() -> None:
    """The last event of a real stream: usage as reported, hidden from a caller who did not ask."""
    body = stream_of("chat-stream-usage")
    *_, last = all_events(decoder(), body)
    *_, shown = all_events(decoder(stream_options={"include_usage": True}), body)
    assert last.hidden
    assert not shown.hidden
    reported = last.doc["usage"]
    assert last.usage == Usage(reported["prompt_tokens"], reported["completion_tokens"])


@pytest.mark.parametrize(
    "name", ["chat", "chat-n2", "chat-tools-named", "completion", "completion-n2", "embedding-list"]
)
def test_recorded_answers_are_read(name: str) -> None:
    """Whole answers of a real vLLM go through as they are, with their usage."""
    text = capture(name)["response"]["body"].encode()
    reader = OpenAI().decoder(call(Operation.EMBEDDINGS if name.startswith("embedding") else Operation.CHAT))
    (event,) = reader.body(text)
    assert event.data == text
    assert reader.finished
    assert event.usage is not None
    assert event.usage.input_tokens == event.doc["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    "name", ["content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call"]
)
def test_whatever_says_something_counts(name: str) -> None:
    """One token at least for each kind of delta; a role alone and an empty text are none."""
    value: Any = [{"index": 0}] if name == "tool_calls" else "x"
    events = all_events(decoder(), chunk(delta={"role": "assistant", "content": ""}), chunk(delta={name: value}))
    assert [event.tokens for event in events] == [0, 1]


def test_an_error_inside_a_stream() -> None:
    """Events before it are handed out; it becomes the failure, with the status that it means."""
    body = (
        chunk(delta={"content": "a"})
        + b'data: {"error": {"message": "dead", "code": 503}}\n\n'
        + chunk(delta={"content": "b"})
    )
    reader = decoder()
    assert len(all_events(reader, body)) == 1
    assert reader.failure is not None
    assert reader.failure.error == 503
    assert not reader.finished


@pytest.mark.parametrize(
    "text",
    [
        b"data: {\n\n", b"data: 5\n\n", b'data: {"choices": 5}\n\n', b'data: {"choices": [5]}\n\n', b"data: \xff\n\n",
        b'data: {"choices": [{"index": {}}]}\n\n', b'data: {"choices": [{"index": 0.0, "delta": {}}]}\n\n',
    ],
)  # fmt: skip
def test_an_event_that_is_none(text: bytes) -> None:
    """Garbage is a failure of the upstream, never an exception."""
    reader = decoder()
    assert all_events(reader, text) == []
    assert reader.failure is not None
    assert reader.failure.error == 502


def test_ends() -> None:
    """A stream may end after `[DONE]`, or once every choice has finished; not before."""
    done, finished, cut = decoder(), decoder(n=2), decoder(n=2)
    all_events(done, b"data: [DONE]\n\n")
    assert done.finished
    all_events(finished, chunk(finish_reason="stop"), chunk(index=1, finish_reason="length"), b"")
    assert finished.finished
    with pytest.raises(ValueError, match="before its answer did"):
        all_events(cut, chunk(finish_reason="stop"), b"")


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"5", b"{}", b'{"choices": 1}', b"<html>", b'{"choices": {}}', b'{"choices": [7]}',
        b'{"choices": [null]}', b'{"choices": [{"index": "0"}]}', b'{"choices": [{"index": null}]}',
    ],
)  # fmt: skip
def test_a_body_that_is_no_answer(text: bytes) -> None:
    """`ValueError`, which becomes a 502."""
    with pytest.raises(ValueError, match=r"."):
        decoder().body(text)


def test_a_body_that_is_an_error() -> None:
    """A 200 that holds an error is a failure."""
    reader = decoder()
    assert reader.body(b'{"error": {"message": "no", "code": 429}}') == []
    assert reader.failure is not None
    assert reader.failure.error == 429


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4}, Usage(3, 4)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0)),
        ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 8}}, Usage(9, 4, 8)),
        ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 10}}, Usage(9, 4)),
        (
            {"prompt_tokens": 9, "completion_tokens": 4, "completion_tokens_details": {"reasoning_tokens": 3}},
            Usage(9, 4, reasoning_tokens=3),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 4, "completion_tokens_details": 5}, Usage(9, 4)),
        ({"prompt_tokens": -1, "completion_tokens": 4}, None),
        ({"prompt_tokens": 1.5, "completion_tokens": 4}, None),
        ({"prompt_tokens": True, "completion_tokens": 4}, None),
        ({"prompt_tokens": "3", "completion_tokens": 4}, None),
        ({}, None), (None, None), (5, None), ([], None),
    ],
)  # fmt: skip
def test_usage(reported: object, usage: Usage | None) -> None:
    """What is sound is taken, cached and reasoning as parts; what is not is no usage."""
    assert read_usage(reported) == usage


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "cached_tokens"]
                ),
                inner,
            )
        ),
    )
)
def test_no_usage_is_a_surprise(reported: Any) -> None:
    """Whatever an upstream calls usage: a sound one or none."""
    usage = read_usage(reported)
    assert usage is None or (min(usage[:-1]) >= 0 and usage.cached_input_tokens <= usage.input_tokens)


@pytest.mark.parametrize(
    ("error", "status"),
    [({"code": 404}, 404), ({"code": "x"}, 500), ({"code": 200}, 500), ("text", 500), ({}, 500), ({"code": True}, 500)],
)
def test_error_status(error: object, status: int) -> None:
    """vLLM's integer code is a status; anything else is a 500."""
    assert error_status({"error": error}) == status
