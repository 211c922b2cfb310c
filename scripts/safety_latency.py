"""What guards add to a stream, and what a busy classifier does to requests that have no guard.

    python -m scripts.safety_latency [--profile tiny] [--seconds 4] [--streams 1 16 64] [--apart]

Streams of 64 words, 10 ms apart, from the fake upstream through one worker: the time to the first piece of text and
between pieces, guarded and not, in turns. `strict` holds text for the classifier. Then plain requests at a steady rate,
without a guard: alone; beside callers in another process who keep the classifier's queue full; and beside as many
requests of such callers that have no guard either, so that what the classifier does can be told from what the requests
do that bring it its work. With `--apart` the detectors and the callers beside have the last core, and everything else
the first; then a fourth time beside as many plain requests while somebody multiplies matrices on the last core, who has
nothing to do with any of it: so much does a busy core cost its neighbour.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import httpx2
import numpy as np
import orjson
import uvloop

from loadtests.client import Kept, Paced, Target
from loadtests.cpu import tree
from loadtests.workload import Door
from tests.support.gateway import KEY, PLAIN, Gateway, Json, config, deployment
from tests.support.upstream import Upstream

SPANS = ["rules", "pii"]
GUARDS: dict[str, list[str]] = {"plain": [], "spans": SPANS, "models": [*SPANS, "classifier"]}
TERMS = [f"project {name}{number}" for number in range(50) for name in ("aurora", "kestrel", "basalt", "quartz")]
HEADERS = {"authorization": f"Bearer {KEY}"}
RATE = 100
"""Unguarded requests a second."""
LINES = 16
"""Connections that they come over."""
LATER = 10
"""Niceness of the callers beside: elsewhere they have cores of their own."""
BUSY = 32
"""Callers that keep the classifier busy."""
TOLD = {
    "busy": "the classifier's requests",
    "echo": "as many plain ones",
    "neighbour": "as many plain ones and a busy core",
}
BESIDE = tuple(TOLD)


def document(url: str, profile: str) -> Json:
    """A model for each guard, and one for plain requests."""
    paced, quick = deployment("paced", url, "answer-64+pace-10ms"), deployment("quick", url, "answer-8+ttft-5ms")
    guards: list[Json] = []
    models: list[Json] = [{"name": "echo", "stable": "quick"}]
    for name, detectors in GUARDS.items():
        model: Json = {"name": name, "stable": "paced"}
        if detectors:
            stage: Json = {"detectors": detectors, "deadline_ms": 5000, "on_error": "allow"}
            completion = {**stage, "on_timeout": "pass"}
            prompt = {**stage, "on_timeout": "allow"}
            guards.append({"name": name, "blocklist": TERMS, "prompt": prompt, "completion": completion})
            model["guard"] = name
        models.append(model)
    guards.append({"name": "busy", "prompt": {"detectors": ["classifier"], "deadline_ms": 5000, "on_error": "allow"}})
    models.append({"name": "busy", "stable": "quick", "guard": "busy"})
    return config([paced, quick], models, guards=guards, safety={"profile": profile})


def body(model: str, number: int, *, stream: bool) -> Json:
    """A request whose text nobody has seen before."""
    text = f"Tell me, for the {number}th time, what the committee decided about the new bridge and its costs."
    return {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}


class Times:
    """Seconds to the first piece of text, and between pieces."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.between: list[float] = []

    async def stream(self, asking: httpx2.AsyncClient, model: str, number: int) -> None:
        """One stream, read as it comes."""
        began = last = time.perf_counter()
        seen = False
        async with asking.stream("POST", "/v1/chat/completions", json=body(model, number, stream=True)) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                choices = orjson.loads(line[6:])["choices"]
                if not choices or not choices[0]["delta"].get("content"):
                    continue
                now = time.perf_counter()
                (self.between if seen else self.first).append(now - (last if seen else began))
                seen, last = True, now


async def streams(url: str, count: int, seconds: float) -> dict[str, Times]:
    """So many streams at a time for each guard, the guards in turns."""
    found = {name: Times() for name in GUARDS}
    async with client(url) as asking:
        number = 0
        until = time.monotonic() + seconds * len(GUARDS)
        while time.monotonic() < until:
            for name, times in found.items():
                await asyncio.gather(*(times.stream(asking, name, number + at) for at in range(count)))
                number += count
    return found


async def steady(url: str, seconds: float) -> list[float]:
    """Seconds that plain requests take which begin at a steady rate; by the load generator, which adds little."""
    kept, parts = Kept(), urlsplit(url)
    door = Door(parts.hostname or "", parts.port or 80, tuple(HEADERS.items()))
    shot = door.shot(orjson.dumps(body("echo", 0, stream=False)))
    await Paced(Target(door.host, door.port), repeat(shot), kept, seconds=seconds, rate=RATE).run(LINES)
    if faults := kept.faults(lambda answer: None if answer.status == 200 else f"status {answer.status}"):
        raise RuntimeError(faults[0])
    return [answer.seconds for answer in kept.answers]


def client(url: str) -> httpx2.AsyncClient:
    """What callers call with."""
    limits = httpx2.Limits(max_connections=256)
    return httpx2.AsyncClient(base_url=url, headers=HEADERS, timeout=60, limits=limits, **PLAIN)


def load(url: str, model: str, seconds: float, rate: float) -> float:
    """Requests a second that `BUSY` callers make of a model: as many as are answered, or at this rate."""
    return asyncio.run(_load(url, model, seconds, rate))


async def _load(url: str, model: str, seconds: float, rate: float) -> float:
    loop = asyncio.get_running_loop()
    began, made, begun = loop.time(), 0, 0
    async with client(url) as asking:

        async def caller(number: int) -> None:
            nonlocal made, begun
            while loop.time() < began + seconds:
                begun += 1
                if rate:
                    await asyncio.sleep(max(0.0, began + begun / rate - loop.time()))
                unseen = time.time_ns() % 10**12 * BUSY + number
                await asking.post("/v1/chat/completions", json=body(model, unseen, stream=False))
                made += 1

        await asyncio.gather(*(caller(number) for number in range(BUSY)))
    return made / (loop.time() - began)


def stand_aside(cores: Sequence[int]) -> None:
    """The callers beside take nobody's time: on a core with the plain requests' own client they would be measured."""
    os.sched_setaffinity(0, cores)
    os.nice(LATER)


def multiply(seconds: float, core: int) -> float:
    """Keep a core busy as a model does; multiplications a second."""
    os.sched_setaffinity(0, {core})
    matrix = np.ones((256, 256), np.float32)
    until, made = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        np.matmul(matrix, matrix)
        made += 1
    return made / seconds


async def beside(
    url: str, seconds: float, others: Executor, neighbour: tuple[Executor, int] | None
) -> tuple[dict[str, list[float]], float]:
    """Seconds that plain requests take: alone, and for each of `BESIDE`; how many of those others there are a second.

    `neighbour` makes a core busy for the last; without one it is left out.
    """
    loop, rate = asyncio.get_running_loop(), 0.0
    found: dict[str, list[float]] = {}
    await steady(url, 1)  # caches are warm afterwards
    found["alone"] = await steady(url, seconds)
    for name in BESIDE if neighbour else BESIDE[:-1]:
        model = "busy" if name == "busy" else "echo"
        loading = [loop.run_in_executor(others, load, url, model, seconds + 2, rate)]
        if neighbour and name == BESIDE[-1]:
            loading.append(loop.run_in_executor(neighbour[0], multiply, seconds + 2, neighbour[1]))
        await asyncio.sleep(1)
        found[name] = await steady(url, seconds)
        rate = (await asyncio.gather(*loading))[0]
    return found, rate


def at(times: Sequence[float], share: float) -> float:
    """A percentile, in ms."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else float("nan")


def told(found: dict[str, Times], count: int) -> None:
    """A row for each guard."""
    base = found["plain"]
    for name, times in found.items():
        row = [at(times.first, 0.5), at(times.first, 0.99), at(times.between, 0.5), at(times.between, 0.99)]
        plain = [at(base.first, 0.5), at(base.first, 0.99), at(base.between, 0.5), at(base.between, 0.99)]
        added = "".join(f"{one - other:+9.1f}" for one, other in zip(row, plain, strict=True))
        print(f"{count:>7}  {name:7}{''.join(f'{one:9.1f}' for one in row)}{added}", flush=True)


def set_apart(pid: int, core: int) -> None:
    """Have the detector process below this one run on a core of its own."""
    for one in tree(pid):
        if b"app.safety.models" in Path(f"/proc/{one}/cmdline").read_bytes():
            for thread in Path(f"/proc/{one}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {core})


def run(options: Any) -> None:
    """Both parts."""
    cores = sorted(os.sched_getaffinity(0))
    if options.apart:
        os.sched_setaffinity(0, cores[:1])
    with Upstream() as upstream, Gateway(document(upstream.url, options.profile)) as gateway:
        if options.apart:
            set_apart(gateway.pid, cores[-1])
        print("ms: time to first text and between pieces, p50 and p99, then what the guard adds to each")
        print("streams  guard   " + "".join(f"{name:>9}" for name in ("first50", "first99", "next50", "next99") * 2))
        for count in options.streams:
            told(asyncio.run(streams(gateway.url, count, options.seconds)), count)
        aside = (cores[-1:] if options.apart else cores,)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), stand_aside, aside) as others:
            others.submit(time.time).result()
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as neighbour:
                neighbour.submit(time.time).result()
                pairs(gateway.url, options, others, (neighbour, cores[-1]) if options.apart else None)


def pairs(url: str, options: Any, others: Executor, neighbour: tuple[Executor, int] | None) -> None:
    """Unguarded requests: a row for each round."""
    rises: dict[str, list[float]] = {name: [] for name in (BESIDE if neighbour else BESIDE[:-1])}
    for _ in range(options.pairs):
        found, rate = uvloop.run(beside(url, options.seconds, others, neighbour))
        told = ", ".join(f"{name} {at(times, 0.5):.2f} / {at(times, 0.99):.2f}" for name, times in found.items())
        print(f"unguarded requests, ms, p50 / p99: {told}; {rate:.0f} others a second", flush=True)
        for name, some in rises.items():
            some.append(at(found[name], 0.99) - at(found["alone"], 0.99))
    for name, some in rises.items():
        each = ", ".join(f"{rise:+.1f}" for rise in some)
        print(f"p99 rises by {median(some):.1f} ms beside {TOLD[name]} (median of {options.pairs} rounds: {each})")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="tiny", choices=("full", "fast", "tiny"))
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 16, 64])
    parser.add_argument("--apart", action="store_true")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
