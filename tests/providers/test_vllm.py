"""vLLM's dialect: exact counts in every chunk, which callers do not see."""

from __future__ import annotations

import orjson

from app.exchange import Operation
from app.providers.vllm import Vllm
from tests.pipeline.parts import call, deployment
from tests.providers.test_openai import all_events, capture, stream_of

RUNNING = "chat-stream-usage-each"
OPTIONS = {"include_usage": True, "continuous_usage_stats": True}


def test_running_usage_is_asked_for() -> None:
    """In streams; the caller's other options stay."""
    sent = Vllm().encode(call(stream=True, stream_options={"x": 1}), deployment(), "req_1")
    assert orjson.loads(sent.body)["stream_options"] == {"x": 1, **OPTIONS}
    assert "stream_options" not in orjson.loads(Vllm().encode(call(), deployment(), "req_1").body)


def test_running_usage_is_read_and_taken_out() -> None:
    """A real stream: the count grows from chunk to chunk, and no chunk that has a choice shows it."""
    events = all_events(Vllm().decoder(call(stream=True)), stream_of(RUNNING))
    counts = [event.usage.output_tokens for event in events if event.usage is not None]
    assert len(counts) == len(events) > 3
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]
    assert not [event for event in events if b'"usage"' in event.data and not event.hidden]
    assert [orjson.loads(event.data) for event in events] == [event.doc for event in events]


def test_a_caller_who_asked_for_it_sees_it() -> None:
    """`continuous_usage_stats` is vLLM's own option: whoever asks gets what vLLM sends."""
    events = all_events(Vllm().decoder(call(stream=True, stream_options=OPTIONS)), stream_of(RUNNING))
    assert all(b'"usage"' in event.data for event in events)


def test_prompts_and_choices_are_added_up() -> None:
    """vLLM counts per choice: nothing is claimed before each prompt was heard of; the last sum is the total."""
    asked = call(Operation.COMPLETION, prompt=["one", "two"], stream=True)
    usages = [event.usage for event in all_events(Vllm().decoder(asked), stream_of("completion-stream-usage-each"))]
    assert usages[0] is None
    assert usages[-1] is not None
    assert usages[-2] == usages[-1]
    assert usages[-1].input_tokens == 5


def test_the_capture_is_what_it_says() -> None:
    """The recorded request asked for running usage: the tests above test something."""
    assert capture(RUNNING)["request"]["body"]["stream_options"]["continuous_usage_stats"] is True
