"""Chat through the OpenAI SDK and the gateway, answered by a real model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam, ChatCompletionToolParam

from tests.support.vllm import Front

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

PARIS: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def text_of(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    """What a stream's choice says in all."""
    pieces = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(piece or "" for piece in pieces)


def test_an_answer(client: OpenAI) -> None:
    """The model knows, and the tokens add up."""
    answer = client.chat.completions.create(model="chat", messages=PARIS, max_tokens=24, temperature=0)
    assert "Paris" in str(answer.choices[0].message.content)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (37, 37 + answer.usage.completion_tokens)
    assert str(answer.system_fingerprint).startswith("vllm-")


async def test_an_answer_to_the_asynchronous_sdk(async_client: AsyncOpenAI) -> None:
    """The same, awaited."""
    answer = await async_client.chat.completions.create(model="chat", messages=PARIS, max_tokens=24, temperature=0)
    assert "Paris" in str(answer.choices[0].message.content)


def test_a_stream_hides_the_usage_nobody_asked_for(client: OpenAI) -> None:
    """The gateway asks vLLM for usage in every chunk; none of it reaches this caller."""
    with client.chat.completions.create(model="chat", messages=PARIS, max_tokens=24, temperature=0, stream=True) as got:
        chunks = list(got)
    assert "Paris" in text_of(chunks)
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_stream_shows_the_usage_that_was_asked_for(client: OpenAI) -> None:
    """One chunk, the last, without choices; as OpenAI does."""
    options: Any = {"include_usage": True}
    with client.chat.completions.create(
        model="chat", messages=PARIS, max_tokens=24, temperature=0, stream=True, stream_options=options
    ) as got:
        *chunks, last = list(got)
    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == []
    assert last.usage
    assert (last.usage.prompt_tokens, last.usage.total_tokens) == (37, 37 + last.usage.completion_tokens)


def test_a_stream_shows_the_running_usage_that_was_asked_for(client: OpenAI) -> None:
    """vLLM's own option goes through untouched."""
    options: Any = {"include_usage": True, "continuous_usage_stats": True}
    with client.chat.completions.create(
        model="chat", messages=PARIS, max_tokens=4, temperature=0, stream=True, stream_options=options
    ) as got:
        counts = [chunk.usage.completion_tokens for chunk in got if chunk.usage]
    assert counts == sorted(counts)
    assert counts[-1] == 4


async def test_a_stream_to_the_asynchronous_sdk(async_client: AsyncOpenAI) -> None:
    """Piece by piece: more than one chunk says something."""
    stream = await async_client.chat.completions.create(
        model="chat", messages=PARIS, max_tokens=24, temperature=0, stream=True
    )
    async with stream:
        chunks = [chunk async for chunk in stream]
    assert "Paris" in text_of(chunks)
    assert sum(1 for chunk in chunks if chunk.choices[0].delta.content) > 1


def test_several_choices(client: OpenAI) -> None:
    """`n` makes so many, in one answer and in one stream."""
    asked: Any = {"model": "chat", "messages": PARIS, "max_tokens": 8, "temperature": 0.8, "n": 3, "seed": 11}
    answer = client.chat.completions.create(**asked)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    with client.chat.completions.create(**asked, stream=True) as got:
        chunks = list(got)
    assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1, 2}
    assert all(text_of(chunks, index) for index in range(3))


def test_a_seed_makes_it_repeatable(client: OpenAI) -> None:
    """The same seed twice gives the same text, another seed another text."""
    story: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Tell me a story about a river."}]

    def told(seed: int) -> str | None:
        answer = client.chat.completions.create(model="chat", messages=story, max_tokens=16, temperature=1, seed=seed)
        return answer.choices[0].message.content

    assert told(1) == told(1) != told(2)


def test_stop_sequences(client: OpenAI) -> None:
    """The text ends before the first of them."""
    answer = client.chat.completions.create(model="chat", messages=PARIS, max_tokens=24, temperature=0, stop=[" is"])
    assert answer.choices[0].message.content == "The capital of France"
    assert answer.choices[0].finish_reason == "stop"


def test_log_probabilities(client: OpenAI) -> None:
    """One entry a token, with its alternatives; in one answer and in a stream."""
    asked: Any = {"model": "chat", "messages": PARIS, "max_tokens": 4, "temperature": 0}
    asked |= {"logprobs": True, "top_logprobs": 2}
    whole = client.chat.completions.create(**asked).choices[0].logprobs
    with client.chat.completions.create(**asked, stream=True) as got:
        parts = [chunk.choices[0].logprobs for chunk in got]
    streamed = [token for part in parts if part for token in part.content or []]
    assert whole
    assert whole.content
    assert [token.token for token in whole.content] == [token.token for token in streamed]
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in whole.content)


def test_a_json_schema_is_obeyed(client: OpenAI) -> None:
    """`response_format` reaches vLLM's guided decoding."""
    form: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
    ask: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Invent a person."}]
    answer = client.chat.completions.create(
        model="chat", messages=ask, max_tokens=80, temperature=0, response_format=form
    )
    person = json.loads(str(answer.choices[0].message.content))
    assert set(person) == {"name", "age"}
    assert 0 <= person["age"] <= 99


@pytest.mark.parametrize(
    ("constraint", "allowed"),
    [
        ({"choice": ["perhaps", "never"]}, {"perhaps", "never"}),
        ({"regex": r"(red|blue){2}"}, {"redred", "redblue", "bluered", "blueblue"}),
    ],
)
def test_guided_decoding(client: OpenAI, constraint: dict[str, object], allowed: set[str]) -> None:
    """vLLM's own field, which neither the SDK nor the gateway knows."""
    answer = client.chat.completions.create(
        model="chat", messages=PARIS, max_tokens=20, temperature=0, extra_body={"structured_outputs": constraint}
    )
    assert answer.choices[0].message.content in allowed


def test_a_named_tool_is_called(client: OpenAI) -> None:
    """In one answer and, piece by piece, in a stream."""
    asked: Any = {"model": "chat", "messages": PARIS, "tools": [WEATHER], "max_tokens": 80, "temperature": 0}
    asked["tool_choice"] = {"type": "function", "function": {"name": "get_weather"}}
    (call,) = client.chat.completions.create(**asked).choices[0].message.tool_calls or []
    with client.chat.completions.create(**asked, stream=True) as got:
        parts = [part for chunk in got for part in chunk.choices[0].delta.tool_calls or []]
    arguments = "".join(part.function.arguments or "" for part in parts if part.function)
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert call.function.arguments == arguments
    assert json.loads(arguments)


def test_some_tool_is_called_where_one_is_required(client: OpenAI) -> None:
    """`tool_choice: required`, answered with `finish_reason: tool_calls`."""
    answer = client.chat.completions.create(
        model="chat", messages=PARIS, tools=[WEATHER], tool_choice="required", max_tokens=150, temperature=0
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    assert [call.type for call in answer.choices[0].message.tool_calls or []] == ["function"]


def test_a_tools_answer_is_understood(client: OpenAI) -> None:
    """A conversation with a call and its result in it is accepted."""
    call = {"id": "call-1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    talk: Any = [*PARIS, {"role": "assistant", "tool_calls": [call]}]
    talk.append({"role": "tool", "tool_call_id": "call-1", "content": "Sunny, 20 degrees."})
    answer = client.chat.completions.create(model="chat", messages=talk, tools=[WEATHER], max_tokens=4, temperature=0)
    assert answer.choices[0].finish_reason in {"length", "stop"}


def test_fields_of_vllm_alone_go_through(client: OpenAI) -> None:
    """`return_token_ids` in, `token_ids` out."""
    answer = client.chat.completions.create(
        model="chat", messages=PARIS, max_tokens=4, temperature=0, extra_body={"return_token_ids": True}
    )
    assert len(answer.choices[0].model_extra["token_ids"]) == 4  # type: ignore[index]  # vLLM's extra


def test_the_models_are_the_gateways(client: OpenAI) -> None:
    """Public names, not the upstream's."""
    assert {model.id for model in client.models.list()} == {"chat", "ghost"}
    assert client.models.retrieve("chat").id == "chat"


def test_the_request_id_is_the_same_on_both_sides(client: OpenAI, front: Front) -> None:
    """vLLM makes its answer's id of the id that the gateway gave the request, and logs it."""
    got = client.chat.completions.with_raw_response.create(model="chat", messages=PARIS, max_tokens=2)
    request_id = got.headers["x-request-id"]
    assert got.parse().id == f"chatcmpl-{request_id}"
    assert front.line(request_id)["outcome"] == "ok"
    assert got.headers["x-sluicegate-deployment"] == "chat"
