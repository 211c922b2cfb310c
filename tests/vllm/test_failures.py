"""A real engine that is full, that freezes, and that dies; in this order, since nothing follows the last."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from openai import APIError, AsyncOpenAI, InternalServerError

from scripts.vllm.server import Server, engine_pid, vllm
from tests.support.vllm import Front, deployment, engine_metric, until

T = TypeVar("T")
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

STORY = [{"role": "user", "content": "Tell me a long story about a river."}]
LONG: dict[str, Any] = {
    "model": "chat", "messages": STORY, "max_tokens": 1500, "temperature": 0, "extra_body": {"ignore_eos": True}
}  # fmt: skip


@pytest.fixture(scope="module")
def fragile(logs: Path) -> Iterator[Server]:
    """An engine of its own that takes one request at a time; vLLM counts the running ones as queued too."""
    with vllm("smollm2", logs / "fragile.log", "--max-num-queued-reqs", "1").wait() as server:
        yield server


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, fragile: Server) -> Iterator[Front]:
    """The gateway before it; a stream may be silent for two seconds."""
    timeouts = {"connect": 2, "first_token": 30, "between_tokens": 2, "total": 120}
    chat = deployment(fragile, "smollm2", max_output_tokens=1600, timeouts=timeouts)
    with Front(tmp_path_factory.mktemp("front"), {"chat": chat}) as gateway:
        yield gateway


async def consume(client: AsyncOpenAI, seen: list[str] | None = None) -> None:
    """Read a long stream to its end, noting its request id and then each of its pieces."""
    notes = [] if seen is None else seen
    stream = await client.chat.completions.create(**LONG, stream=True)
    async with stream:
        notes.append(stream.response.headers["x-request-id"])
        async for chunk in stream:
            notes.append(chunk.choices[0].delta.content or "")


def load(engine: Server) -> tuple[float, float]:
    """Requests that the engine works on, and those that wait."""
    return engine_metric(engine, "num_requests_running"), engine_metric(engine, "num_requests_waiting")


async def reached(read: Callable[[], T], good: Callable[[T], object], *, seconds: float = 60) -> T:
    """`until`, while the streams of this test go on."""
    return await asyncio.to_thread(until, read, good, seconds=seconds)


async def left(tasks: list[asyncio.Task[None]], engine: Server) -> None:
    """Cancel what still runs, and see the engine idle."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await reached(lambda: load(engine), lambda count: count == (0, 0))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_full_engine(async_client: AsyncOpenAI, fragile: Server, front: Front, *, stream: bool) -> None:
    """503 with `retry-after`, for a stream too, although vLLM may say it inside a 200; nothing is charged."""
    tasks = [asyncio.create_task(consume(async_client))]
    await reached(lambda: load(fragile), lambda count: count == (1, 0))
    with pytest.raises(InternalServerError) as refused:
        await async_client.chat.completions.create(**LONG, stream=stream)
    await left(tasks, fragile)
    assert (refused.value.status_code, refused.value.code) == (503, "overloaded")
    assert float(refused.value.response.headers["retry-after"]) > 0
    line = front.line(str(refused.value.request_id))
    assert (line["outcome"], line["cost_usd"]) == ("upstream_error", 0)


async def test_streams_that_overload_it_together(async_client: AsyncOpenAI, fragile: Server, front: Front) -> None:
    """Of six at once some are served, the rest get the 503; none sees a 200 without an answer."""
    asked = LONG | {"max_tokens": 60}

    async def ask() -> int:
        try:
            stream = await async_client.chat.completions.create(**asked, stream=True)
        except InternalServerError as error:
            return error.status_code
        async with stream:
            return 200 if len([chunk async for chunk in stream]) > 1 else 0

    earlier = len(front.lines())
    statuses = await asyncio.gather(*(ask() for _ in range(6)))
    assert set(statuses) == {200, 503}
    lines = await reached(lambda: front.lines()[earlier:], lambda found: len(found) == 6)
    assert sorted(line["status"] for line in lines) == sorted(statuses)
    await left([], fragile)


async def test_an_engine_that_freezes(async_client: AsyncOpenAI, fragile: Server, front: Front) -> None:
    """Silence for longer than `between_tokens` ends the stream with an error; thawed, the engine is free again."""
    notes: list[str] = []
    task = asyncio.create_task(consume(async_client, notes))
    await reached(lambda: len(notes), lambda count: count > 5)
    engine = engine_pid(fragile)
    os.kill(engine, signal.SIGSTOP)
    try:
        with pytest.raises(APIError) as failed:
            await asyncio.wait_for(task, 20)
    finally:
        os.kill(engine, signal.SIGCONT)
    assert failed.value.code == "upstream_timeout"
    line = front.line(notes[0])
    assert (line["outcome"], line["status"]) == ("upstream_timeout", 200)
    assert line["output_tokens"] >= len(notes) - 2
    await left([], fragile)


async def test_an_engine_that_dies(async_client: AsyncOpenAI, fragile: Server, front: Front) -> None:
    """The open stream ends with an error that the SDK raises, and so does every request after it."""
    notes: list[str] = []
    task = asyncio.create_task(consume(async_client, notes))
    await reached(lambda: len(notes), lambda count: count > 5)
    os.kill(engine_pid(fragile), signal.SIGKILL)
    with pytest.raises(APIError) as failed:
        await asyncio.wait_for(task, 20)
    assert failed.value.code == "upstream_error"
    assert front.line(notes[0])["outcome"] == "upstream_error"
    with pytest.raises(InternalServerError) as refused:
        await async_client.chat.completions.create(**LONG)
    assert (refused.value.status_code, refused.value.code) == (502, "upstream_error")
    await reached(lambda: front.metric("sluicegate_endpoint_up", deployment="chat"), lambda up: up == 0)
