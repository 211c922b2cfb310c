"""What inference engines say of themselves: vLLM's own metrics, read off the request path and told as ours.

vLLM renames its metrics; `ALIASES` knows every name that one has had, newest first, and a name that is absent leaves
the series out: a zero would look like an answer. The names were read from scrapes of real servers (the fixtures of the
tests). Every worker asks for itself, for it must know which engines sleep; the exposition takes the highest value.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NamedTuple

from app.errors import UpstreamFailure
from app.exchange import Endpoint, Outbound, Timeouts
from app.pipeline.call import Transport
from app.pipeline.endpoints import Endpoints
from app.table import State
from app.tasks import TaskGroup
from app.telemetry import (
    ENGINE_ASLEEP,
    ENGINE_KV_CACHE,
    ENGINE_OUTPUT_TOKENS,
    ENGINE_PREEMPTIONS,
    ENGINE_PREFIX_HITS,
    ENGINE_PREFIX_QUERIES,
    ENGINE_PROMPT_TOKENS,
    ENGINE_RUNNING,
    ENGINE_UP,
    ENGINE_WAITING,
    UNKNOWN,
    Metric,
    Telemetry,
)

INTERVAL = 5.0
INTERVAL_SILENT = 30.0
"""Between two questions to a server that has no such page."""
TIMEOUTS = Timeouts(connect=2.0, first_token=4.0, between_tokens=4.0, total=4.0)
_MOST = 4 * 1024 * 1024


class Alias(NamedTuple):
    """One of our metrics, the names that vLLM has had for it, and how several engines of one server become one."""

    metric: Metric
    names: tuple[str, ...]
    join: Callable[[Iterable[float]], float] = sum


ALIASES = (
    Alias(ENGINE_RUNNING, ("vllm:num_requests_running",)),
    Alias(ENGINE_WAITING, ("vllm:num_requests_waiting",)),
    Alias(ENGINE_KV_CACHE, ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"), max),
    Alias(ENGINE_PREFIX_QUERIES, ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total")),
    Alias(ENGINE_PREFIX_HITS, ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total")),
    Alias(ENGINE_PREEMPTIONS, ("vllm:num_preemptions_total",)),
    Alias(ENGINE_PROMPT_TOKENS, ("vllm:prompt_tokens_total",)),
    Alias(ENGINE_OUTPUT_TOKENS, ("vllm:generation_tokens_total",)),
)
SLEEP = "vllm:engine_sleep_state"
_AWAKE = 'sleep_state="awake"'
_WANTED = frozenset(name for alias in ALIASES for name in alias.names) | {SLEEP}
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([^ ]+)(?: \d+)?")
_GAUGES = (ENGINE_RUNNING, ENGINE_WAITING, ENGINE_KV_CACHE)


class Reading(NamedTuple):
    """One scrape: our metrics' values, as far as the server has them, and whether every engine in it sleeps."""

    values: dict[Metric, float]
    asleep: bool


def read(text: str) -> Reading:
    """What an exposition says. Lines that are none of ours, or nothing that can be read, are passed over."""
    found: dict[str, list[float]] = {}
    for line in text.splitlines():
        if not line.startswith("vllm:") or line[: line.find("{")] not in _WANTED:
            continue
        match = _SAMPLE.fullmatch(line)
        if match is None or (match[1] == SLEEP and _AWAKE not in match[2]):
            continue
        with suppress(ValueError):
            value = float(match[3])
            found.setdefault(match[1], []).append(value)
    values = {}
    for alias in ALIASES:
        name = next((name for name in alias.names if name in found), None)
        if name is not None:
            values[alias.metric] = float(alias.join(found[name]))
    return Reading(values, bool(found.get(SLEEP)) and not any(found[SLEEP]))


class Engines:
    """Keeps one asking task per endpoint and metrics path of the current table."""

    def __init__(
        self, state: State, endpoints: Endpoints, transport: Transport, telemetry: Telemetry, clock: Callable[[], float]
    ) -> None:
        self._state = state
        self._endpoints = endpoints
        self._transport = transport
        self._telemetry = telemetry
        self._clock = clock
        self._tasks = TaskGroup("engines")
        self._asking: dict[tuple[Endpoint, str], asyncio.Task[None]] = {}
        self._counted: dict[tuple[Metric, str, str], float] = {}
        self._told: dict[tuple[Endpoint, str], set[tuple[str, str]]] = {}
        """Deployment and place of the series that each page filled."""

    async def run(self) -> None:
        """Follow the table until cancelled."""
        try:
            while True:
                self._follow()
                await asyncio.sleep(1.0)
        finally:
            await self._tasks.aclose()

    def _follow(self) -> None:
        wanted = {
            (endpoint, deployment.metrics)
            for deployment in self._state.table.deployments.values()
            if deployment.metrics is not None
            for endpoint in deployment.endpoints
        }
        for gone in self._asking.keys() - wanted:
            self._asking.pop(gone).cancel()
            for where in self._told.pop(gone, ()):
                self._forget(where)
        for endpoint, path in wanted - self._asking.keys():
            self._asking[endpoint, path] = self._tasks.spawn(endpoint.url, self._ask(endpoint, path))

    async def _ask(self, endpoint: Endpoint, path: str) -> None:
        request = Outbound("GET", path, (("accept", "text/plain"),), b"", stream=False, from_root=True)
        while True:
            text = await self._scrape(endpoint, request)
            reading = read(text) if text is not None else Reading({}, asleep=False)
            if text is not None:
                state = self._endpoints.state(endpoint)
                if reading.asleep or state.asleep:
                    state.sleeps(self._clock(), asleep=reading.asleep)
            self._tell(endpoint, path, reading)
            await asyncio.sleep(INTERVAL if reading.values else INTERVAL_SILENT if text is not None else INTERVAL)

    async def _scrape(self, endpoint: Endpoint, request: Outbound) -> str | None:
        """The page; empty where the server has none, None where it does not answer."""
        deadline = self._clock() + TIMEOUTS.total
        try:
            reply = await self._transport.send(endpoint, request, TIMEOUTS, deadline)
            try:
                body = await reply.read_all(_MOST)
            finally:
                reply.close()
        except UpstreamFailure:
            return None
        return body.decode(errors="replace") if reply.status == 200 else ""

    def _tell(self, endpoint: Endpoint, path: str, reading: Reading) -> None:
        """Set the series of every place in the table at which the endpoint stands."""
        places = {
            (deployment.name, str(number))
            for deployment in self._state.table.deployments.values()
            if deployment.metrics == path
            for number, one in enumerate(deployment.endpoints)
            if one == endpoint
        }
        for where in self._told.get((endpoint, path), set()) - places:
            self._forget(where)
        self._told[endpoint, path] = places
        gauge = self._telemetry.gauge
        for where in places:
            gauge(ENGINE_UP, *where).set(float(bool(reading.values)))
            gauge(ENGINE_ASLEEP, *where).set(float(reading.asleep) if reading.values else UNKNOWN)
            for metric in _GAUGES:
                gauge(metric, *where).set(reading.values.get(metric, UNKNOWN))
            for metric in reading.values.keys() - set(_GAUGES):
                self._count(metric, where, reading.values[metric])

    def _forget(self, where: tuple[str, str]) -> None:
        """Nobody stands there any more."""
        for metric in (ENGINE_UP, ENGINE_ASLEEP, *_GAUGES):
            self._telemetry.gauge(metric, *where).set(UNKNOWN)

    def _count(self, metric: Metric, where: tuple[str, str], value: float) -> None:
        """Let our counter grow as the engine's did; one that begins anew after a restart goes on from where it was."""
        before = self._counted.get((metric, *where))
        self._counted[metric, *where] = value
        if before is not None:
            self._telemetry.counter(metric, *where).inc(value - before if value >= before else value)
        else:
            self._telemetry.counter(metric, *where).inc(0)
