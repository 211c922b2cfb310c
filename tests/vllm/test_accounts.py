"""What the gateway records is what the engine counted, also when the caller leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from scripts.vllm.server import Server
from tests.support.vllm import Front, engine_metric, until

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

STORY: Any = [{"role": "user", "content": "Tell me a long story about a river."}]
LONG: dict[str, Any] = {
    "model": "chat", "messages": STORY, "max_tokens": 900, "temperature": 0, "extra_body": {"ignore_eos": True}
}  # fmt: skip
ALLOWANCE = 16
"""`cancel_allowance` of the deployment, by default."""


def engine_tokens(engine: Server) -> tuple[float, float]:
    """Prompt and answer tokens that the engine has processed so far."""
    return engine_metric(engine, "prompt_tokens_total"), engine_metric(engine, "generation_tokens_total")


def gateway_tokens(front: Front) -> tuple[float, float]:
    """The same as the gateway's metrics have it, for the model `chat`."""
    kinds = ("input", "output")
    read = (front.metric("gen_ai_client_token_usage_sum", gen_ai_token_type=kind, deployment="chat") for kind in kinds)
    return next(read), next(read)


def running(engine: Server) -> float:
    """Requests that the engine works on."""
    return engine_metric(engine, "num_requests_running") + engine_metric(engine, "num_requests_waiting")


def growth(read: Callable[[], tuple[float, float]], act: Callable[[], object]) -> tuple[float, float]:
    """By how much two figures grow while something is done."""
    before = read()
    act()
    after = read()
    return after[0] - before[0], after[1] - before[1]


def test_both_sides_count_the_same(client: OpenAI, engine: Server, front: Front) -> None:
    """Tokens in the gateway's metrics and in vLLM's own grow alike, over whole answers and streams."""
    asked: dict[str, Any] = {"model": "chat", "max_tokens": 7, "temperature": 0}

    def ask() -> None:
        for stream in (False, True):
            answer = client.chat.completions.create(**asked, messages=STORY, stream=stream)
            text = client.completions.create(**asked, prompt=["One two", "Red green blue"], stream=stream)
            list(answer), list(text)

    seen: list[tuple[float, float]] = []
    counted = growth(lambda: engine_tokens(engine), lambda: seen.append(growth(lambda: gateway_tokens(front), ask)))
    assert seen == [counted]
    assert counted[1] == 6 * 7


def test_the_record_has_the_answers_usage_and_its_price(client: OpenAI, front: Front) -> None:
    """The access line says what the caller was told; a token costs a millionth of a dollar here."""
    got = client.chat.completions.with_raw_response.create(model="chat", messages=STORY, max_tokens=9)
    usage, line = got.parse().usage, front.line(got.headers["x-request-id"])
    assert usage
    assert (line["input_tokens"], line["output_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert line["usage"] == "exact"
    assert line["cost_usd"] == pytest.approx(usage.total_tokens / 1e6)


def test_a_caller_who_leaves_a_stream_frees_the_engine(client: OpenAI, engine: Server, front: Front) -> None:
    """Within a second; every token that the engine made is on the record, and no more than the allowance on top."""
    before = engine_tokens(engine)[1]
    with client.chat.completions.create(**LONG, stream=True) as stream:
        request_id = stream.response.headers["x-request-id"]
        for _, _chunk in zip(range(12), stream, strict=False):
            pass
    until(lambda: running(engine), lambda count: count == 0, seconds=1)
    made = engine_tokens(engine)[1] - before
    line = front.line(request_id)
    assert (line["outcome"], line["usage"]) == ("client_closed", "at_least")
    assert made <= line["output_tokens"] <= made + ALLOWANCE


def test_a_cut_stream_of_several_prompts_is_charged_for_all_of_them(
    client: OpenAI, engine: Server, front: Front
) -> None:
    """vLLM's running count is of one prompt and one choice a chunk; the record has their sum."""
    before = engine_tokens(engine)
    asked = LONG | {"prompt": ["one two three " * 60, "Red", "Green blue"]}
    del asked["messages"]
    with client.completions.create(**asked, stream=True) as stream:
        request_id = stream.response.headers["x-request-id"]
        for _, _chunk in zip(range(18), stream, strict=False):
            pass
    until(lambda: running(engine), lambda count: count == 0, seconds=1)
    after, line = engine_tokens(engine), front.line(request_id)
    assert line["input_tokens"] == after[0] - before[0]
    made = after[1] - before[1]
    assert made <= line["output_tokens"] <= made + ALLOWANCE


async def test_a_caller_who_gives_up_a_whole_answer_frees_the_engine(
    async_client: AsyncOpenAI, engine: Server, front: Front
) -> None:
    """Within a second; nobody saw how far it came, so it is settled at its bound."""
    earlier = len(front.lines())
    task = asyncio.create_task(async_client.chat.completions.create(**LONG))
    await asyncio.to_thread(until, lambda: task.done() or running(engine), bool, seconds=20)
    assert not task.done(), (await task, front.lines()[earlier:])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    until(lambda: running(engine), lambda count: count == 0, seconds=1)
    (line,) = until(lambda: front.lines()[earlier:], len)
    assert (line["outcome"], line["usage"], line["output_tokens"]) == ("client_closed", "bound", 900)


async def test_many_at_once_are_counted_one_by_one(async_client: AsyncOpenAI, engine: Server, front: Front) -> None:
    """Eight callers in one batch of the engine, half of them streaming: the sums agree."""
    asked: dict[str, Any] = {"model": "chat", "messages": STORY, "max_tokens": 8, "temperature": 1}

    async def ask(*, stream: bool) -> None:
        answer: Any = await async_client.chat.completions.create(**asked, stream=stream)
        if stream:
            async with answer:
                assert [chunk async for chunk in answer]

    before = engine_tokens(engine), gateway_tokens(front)
    await asyncio.gather(*(ask(stream=number % 2 == 0) for number in range(8)))
    after = engine_tokens(engine), gateway_tokens(front)
    grown = [(new[0] - old[0], new[1] - old[1]) for old, new in zip(before, after, strict=True)]
    assert grown[0] == grown[1]
