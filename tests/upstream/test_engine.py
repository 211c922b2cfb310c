"""Answers: which tokens come, and that usage, log and chunks agree about how many."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.upstream import Upstream
from tests.upstream.client import Client, Stream
from tests.upstream.engine import instance

USAGE = {"include_usage": True}
TOOL = {
    "type": "function",
    "function": {
        "name": "order",
        "parameters": {
            "type": "object",
            "properties": {
                "size": {"enum": ["s", "m"]},
                "count": {"type": "integer"},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
        },
    },
}


def chunks(stream: Stream) -> list[str]:
    """The content of every chunk that has some."""
    found = [doc["choices"][0]["delta"].get("content") for doc in stream.docs if doc["choices"]]
    return [text for text in found if text]


def test_echo_answers_with_the_last_user_message(client: Client) -> None:
    """The same text streamed and not, one word a chunk."""
    assert client.chat("echo", "one two  three").doc["choices"][0]["message"]["content"] == "one two  three"
    assert chunks(client.stream("echo", "one two  three")) == ["one", " two", " ", " three"]


def test_tokens_are_counted_the_same_everywhere(client: Client, upstream: Upstream) -> None:
    """In chunks, in usage, in the log."""
    stream = client.stream("answer-64", "three little words", stream_options=USAGE)
    assert len(chunks(stream)) == 64
    assert stream.docs[-1]["usage"] == {"prompt_tokens": 6, "total_tokens": 70, "completion_tokens": 64}
    assert stream.docs[-1]["choices"] == []
    assert client.chat("answer-64", "three little words").doc["usage"]["completion_tokens"] == 64
    for line in upstream.log():
        assert (line["prompt_tokens"], line["made"], line["written"], line["reported"]) == (6, 64, 64, [6, 64])


def test_usage_comes_only_if_it_was_asked_for(client: Client, upstream: Upstream) -> None:
    """And the log says that nothing was reported."""
    assert all("usage" not in doc for doc in client.stream("answer-2").docs)
    assert upstream.log()[-1]["reported"] is None
    each = client.stream("answer-2", stream_options=USAGE | {"continuous_usage_stats": True}).docs
    assert [doc["usage"]["completion_tokens"] for doc in each] == [0, 1, 2, 2, 2]


def test_running_usage_is_of_one_choice_and_its_prompt(client: Client) -> None:
    """As with a real vLLM: only the last event has the sums."""
    options = USAGE | {"continuous_usage_stats": True}
    fields = {
        "model": "answer-2",
        "prompt": ["one", "one two three"],
        "n": 2,
        "stream": True,
        "stream_options": options,
    }
    docs = client.read(client.open(fields, "/v1/completions"), 0).docs
    told = {doc["choices"][0]["index"]: doc["usage"] for doc in docs if doc["choices"]}
    assert [usage["completion_tokens"] for usage in told.values()] == [2, 2, 2, 2]
    sizes = [usage["prompt_tokens"] for usage in told.values()]
    assert (sizes[0], sizes[2]) == (sizes[1], sizes[3])
    assert (docs[-1]["usage"]["prompt_tokens"], docs[-1]["usage"]["completion_tokens"]) == (sizes[0] + sizes[2], 8)


@pytest.mark.parametrize("cap", [{"max_tokens": 5}, {"max_completion_tokens": 5}])
def test_the_cap_cuts_the_answer(client: Client, cap: dict[str, Any]) -> None:
    """`length` as finish reason, never a token too many."""
    whole = client.chat("answer-64", **cap).doc
    assert (whole["choices"][0]["finish_reason"], whole["usage"]["completion_tokens"]) == ("length", 5)
    stream = client.stream("answer-64", **cap)
    assert len(chunks(stream)) == 5
    assert stream.docs[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("model", ["reasoning-10+answer-10", "tool-call-3", "echo", "refusal+answer-9", "unicode-40"])
def test_no_answer_is_longer_than_its_cap(client: Client, upstream: Upstream, model: str) -> None:
    """Whatever it consists of: a provider never bills beyond the cap it was given."""
    for cap in (1, 4, 12):
        usage = client.chat(model, "a b c d e f g", max_tokens=cap).doc["usage"]
        client.stream(model, "a b c d e f g", max_tokens=cap)
        assert usage["completion_tokens"] <= cap
    assert all(line["made"] <= 12 for line in upstream.log())


def test_n_choices_take_turns_and_are_all_counted(client: Client) -> None:
    """Each is another text; two roles first, two finishes."""
    whole = client.chat("answer-6", n=3).doc
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in whole["choices"]}) == 3
    assert whole["usage"]["completion_tokens"] == 18
    docs = client.stream("answer-6", n=2, stream_options=USAGE).docs
    assert [doc["choices"][0]["index"] for doc in docs[:6]] == [0, 1, 0, 1, 0, 1]
    assert docs[-1]["usage"]["completion_tokens"] == 12
    assert sum(doc["choices"][0]["finish_reason"] == "stop" for doc in docs[:-1]) == 2


def test_a_seed_changes_the_text_and_the_same_seed_does_not(client: Client) -> None:
    """Deterministic otherwise."""
    texts = [client.chat("answer-8", seed=seed).doc["choices"][0]["message"]["content"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_stop_string_ends_the_answer(client: Client) -> None:
    """Before the string, even inside a word."""
    doc = client.chat("echo", "one two three", stop=["wo"]).doc
    assert doc["choices"][0]["message"]["content"] == "one t"
    assert doc["usage"]["completion_tokens"] == 2


def test_several_tokens_may_share_a_chunk(client: Client, upstream: Upstream) -> None:
    """Fewer chunks, the same count."""
    stream = client.stream("answer-10+multi-token-4", stream_options=USAGE)
    assert len(chunks(stream)) == 3
    assert stream.docs[-1]["usage"]["completion_tokens"] == 10
    assert upstream.log()[-1]["made"] == 10


def test_logprobs_cover_every_token(client: Client) -> None:
    """As many as tokens, with as many alternatives as were asked for."""
    content = client.chat("answer-5", logprobs=True, top_logprobs=3).doc["choices"][0]["logprobs"]["content"]
    assert [len(entry["top_logprobs"]) for entry in content] == [3] * 5
    assert "".join(entry["token"] for entry in content) == "the river rises behind the"
    docs = client.stream("answer-5+multi-token-2", logprobs=True).docs
    entries = [entry for doc in docs for entry in (doc["choices"][0]["logprobs"] or {}).get("content", [])]
    assert [entry["token"] for entry in entries] == ["the", " river", " rises", " behind", " the"]


def test_tools_are_called_as_wanted(client: Client) -> None:
    """By the behaviour, by name, by `required`; several in parallel; after a result comes text."""
    call = client.chat("tool-call-2", tools=[TOOL]).doc["choices"][0]
    assert call["finish_reason"] == "tool_calls"
    assert [json.loads(each["function"]["arguments"]) for each in call["message"]["tool_calls"]] == [
        {"size": "s", "count": 1, "tags": ["Paris"]}
    ] * 2
    assert len({each["id"] for each in call["message"]["tool_calls"]}) == 2
    named = client.chat("answer-3", tools=[TOOL], tool_choice={"type": "function", "function": {"name": "order"}}).doc
    assert named["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "order"
    assert client.chat("answer-3", tools=[TOOL]).doc["choices"][0]["finish_reason"] == "stop"
    assert client.chat("tool-call", tools=[TOOL], tool_choice="none").doc["choices"][0]["finish_reason"] == "stop"
    done = [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "c", "content": "sunny"}]
    doc = client.request("POST", "/v1/chat/completions", {"model": "tool-call", "messages": done, "tools": [TOOL]}).doc
    assert doc["choices"][0]["message"]["content"] == "sunny"


def test_streamed_tool_arguments_come_in_pieces(client: Client, upstream: Upstream) -> None:
    """Put together they are the JSON of the whole answer."""
    arguments = ["", ""]
    for doc in client.stream("tool-call-2", tools=[TOOL]).docs:
        for part in doc["choices"][0]["delta"].get("tool_calls", []):
            arguments[part["index"]] += part["function"].get("arguments", "")
    assert [json.loads(text)["count"] for text in arguments] == [1, 1]
    assert upstream.log()[-1]["made"] > 10


def test_reasoning_and_refusal_travel_in_fields_of_their_own(client: Client) -> None:
    """Counted as output; reasoning shows in the details."""
    docs = client.stream("reasoning-3+answer-2", stream_options=USAGE).docs
    assert sum("reasoning" in (doc["choices"][0]["delta"] if doc["choices"] else {}) for doc in docs) == 3
    assert docs[-1]["usage"]["completion_tokens"] == 5
    assert docs[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 3}
    assert client.chat("refusal", "no").doc["choices"][0]["message"]["refusal"] == "no"
    assert client.chat("content-filter", "no").doc["choices"][0]["finish_reason"] == "content_filter"


@pytest.mark.parametrize(
    ("model", "usage"),
    [("cached-7", {"cached_tokens": 7}), ("absurd-usage", None), ("no-usage", None)],
)
def test_usage_can_be_special(client: Client, upstream: Upstream, model: str, usage: dict[str, int] | None) -> None:
    """Cached tokens in the details, ten times the truth, or nothing; the log keeps the truth."""
    doc = client.chat(f"{model}+answer-4").doc
    line = upstream.log()[-1]
    if usage:
        assert doc["usage"]["prompt_tokens_details"]["cached_tokens"] == 7
    elif model == "absurd-usage":
        assert doc["usage"]["completion_tokens"] == line["reported"][1] == 40
    else:
        assert "usage" not in doc
        assert line["reported"] is None
    assert line["made"] == 4


def test_completions_take_every_form_of_prompt(client: Client) -> None:
    """A text, several, token numbers; 16 tokens unless more were asked for; echo puts the prompt first."""
    for prompt, tokens, choices in (("a b", 2, 1), (["a", "b c"], 3, 2), ([5, 6, 7], 3, 1), ([[1], [2, 3]], 3, 2)):
        doc = client.request("POST", "/v1/completions", {"model": "answer-40", "prompt": prompt}).doc
        assert len(doc["choices"]) == choices
        assert doc["usage"] | {"total_tokens": 0} == doc["usage"] | {
            "prompt_tokens": tokens,
            "completion_tokens": 16 * choices,
            "total_tokens": 0,
        }
    doc = client.request(
        "POST", "/v1/completions", {"model": "answer-2", "prompt": "Say", "echo": True, "logprobs": 1}
    ).doc
    assert doc["choices"][0]["text"] == "Saythe river"
    assert doc["choices"][0]["logprobs"]["tokens"] == ["Say", "the", " river"]


def test_a_schema_is_obeyed() -> None:
    """The plainest value that fits: references, enums, unions, nesting."""
    schema = {
        "$defs": {"leaf": {"type": "object", "properties": {"n": {"type": "number", "minimum": 3}}}},
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/leaf"},
            "b": {"anyOf": [{"type": "null"}, {"type": "string"}]},
            "c": {"const": 4},
        },
    }
    assert instance(schema, schema) == {"a": {"n": 3}, "b": None, "c": 4}


def test_structured_output_is_json_of_the_schema(client: Client) -> None:
    """So that `parse()` of the SDK works."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert json.loads(client.chat("echo", response_format=form).doc["choices"][0]["message"]["content"]) == {
        "city": "Paris"
    }


def test_a_request_id_becomes_the_answer_s_id(client: Client, upstream: Upstream) -> None:
    """As vLLM does it; and the same bytes twice still get different ids."""
    path, doc = "/v1/chat/completions", {"model": "echo", "messages": [{"role": "user", "content": "x"}]}
    assert client.request("POST", path, doc, x_request_id="R-1").doc["id"] == "chatcmpl-R-1"
    ids = [client.request("POST", path, doc).doc["id"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert upstream.find("R-1")["answer_id"] == "chatcmpl-R-1"
    assert client.request("POST", path, doc, x_request_id="R-2").doc["id"] == "chatcmpl-R-2"
