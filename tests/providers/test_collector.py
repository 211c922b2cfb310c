"""Spans reach a collector, or are counted; whatever it does, nobody waits for it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest

from app.exchange import Timeouts
from app.otlp import SERVER, Span
from app.providers import collector
from app.providers.collector import BATCH, MOST_QUEUED, Collector
from app.providers.transport import HttpTransport
from app.telemetry import DROPPED, QUEUE_LENGTH, SPANS
from tests.pipeline.parts import Counted
from tests.support.otlp import Receiver


def span(number: int) -> Span:
    """A span with an id of its own."""
    return Span(f"{number + 1:032x}", f"{number + 1:016x}", "", "", "POST /", SERVER, 1, 2, [])


def some(count: int) -> list[Span]:
    """So many spans."""
    return [span(number) for number in range(count)]


class Scene:
    """A collector client with a transport and counts of its own."""

    def __init__(self, url: str) -> None:
        self.telemetry = counted = Counted()
        self.transport = HttpTransport()
        counts = counted.counter(SPANS), counted.counter(DROPPED, "spans"), counted.gauge(QUEUE_LENGTH, "spans")
        self.collector = Collector(self.transport, url, [("x-key", "v")], [("service.name", "test")], counts)
        self.task = asyncio.create_task(self.collector.run())

    def counts(self) -> tuple[float, float, float]:
        """Sent, dropped, waiting."""
        return tuple(self.telemetry.total(metric) for metric in (SPANS, DROPPED, QUEUE_LENGTH))  # type: ignore[return-value]  # three

    async def until(self, wanted: tuple[float, float, float], seconds: float = 20) -> None:
        """Wait until the counts are these."""
        end = time.monotonic() + seconds
        while self.counts() != wanted:
            assert time.monotonic() < end, f"{self.counts()}, not {wanted}"
            await asyncio.sleep(0.02)

    async def aclose(self) -> None:
        """End everything."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.collector.aclose()
        await self.transport.aclose()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A collector."""
    with Receiver() as running:
        yield running


@pytest.fixture
async def scene(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """A client of it that is quick to lose its patience."""
    receiver.mode("ok")
    monkeypatch.setattr(collector, "EVERY", 0.05)
    monkeypatch.setattr(collector, "TIMEOUTS", Timeouts(connect=1.0, first_token=1.0, between_tokens=1.0, total=1.0))
    made = Scene(receiver.url)
    yield made
    await made.aclose()


async def test_spans_arrive_once(scene: Scene, receiver: Receiver) -> None:
    """More than a batch of them."""
    before = len(receiver.held()["spans"])
    scene.collector.submit(some(BATCH + 10))
    await scene.until((BATCH + 10, 0, 0))
    held = receiver.held()
    assert len(held["spans"]) - before == BATCH + 10
    last = held["requests"][-1]
    assert (last["path"], last["headers"]["content-type"]) == ("/v1/traces", "application/x-protobuf")
    assert last["headers"]["x-key"] == "v"


async def test_what_may_be_tried_again_is(scene: Scene, receiver: Receiver) -> None:
    """An overloaded collector gets the same spans later, after a pause."""
    before = len(receiver.held()["requests"])
    receiver.mode("503")
    scene.collector.submit(some(3))
    end = time.monotonic() + 20
    while len(receiver.held()["requests"]) == before:
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    assert scene.counts() == (0, 0, 3)
    receiver.mode("ok")
    await scene.until((3, 0, 0))
    assert {one["mode"] for one in receiver.held()["requests"][before:]} == {"503", "ok"}


async def test_what_is_refused_is_dropped_and_counted(scene: Scene, receiver: Receiver) -> None:
    """All of it, or the part that the collector says it did not take."""
    receiver.mode("400")
    scene.collector.submit(some(3))
    await scene.until((0, 3, 0))
    receiver.mode("partial-2")
    scene.collector.submit(some(5))
    await scene.until((3, 5, 0))


async def test_nobody_waits_for_a_collector_that_hangs(scene: Scene, receiver: Receiver) -> None:
    """Requests hand their spans over in no time; what comes over the bound is dropped, whole requests at a time."""
    receiver.mode("hang")
    scene.collector.submit(some(1))
    await asyncio.sleep(0.3)
    began = time.perf_counter()
    for _ in range(MOST_QUEUED):
        scene.collector.submit(some(2))
    assert time.perf_counter() - began < 2
    assert scene.counts() == (0, MOST_QUEUED + 2, MOST_QUEUED - 1)
    receiver.mode("ok")
    await scene.until((MOST_QUEUED - 1, MOST_QUEUED + 2, 0))


async def test_at_the_end_the_rest_is_sent(receiver: Receiver) -> None:
    """What had not gone yet; where the collector is down it is counted instead, soon."""
    receiver.mode("ok")
    made = Scene(receiver.url + "/v1/traces")
    made.collector.submit(some(7))
    await made.aclose()
    assert made.counts() == (7, 0, 0)
    with closing(socket.create_server(("127.0.0.1", 0))) as nobody:
        port = nobody.getsockname()[1]
    alone = Scene(f"http://127.0.0.1:{port}")
    alone.collector.submit(some(7))
    began = time.monotonic()
    await alone.aclose()
    assert alone.counts() == (0, 7, 0)
    assert time.monotonic() - began < collector.FAREWELL + 5


async def test_trouble_is_told_once(scene: Scene, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """When it begins and when it is over."""
    caplog.set_level("INFO", logger="sluicegate")
    for mode, count in (("400", 1), ("400", 2), ("ok", 3), ("ok", 4)):
        receiver.mode(mode)
        scene.collector.submit(some(1))
        await scene.until((max(count - 2, 0), min(count, 2), 0))
    assert [record.message for record in caplog.records] == ["spans cannot be sent", "spans are sent again"]
