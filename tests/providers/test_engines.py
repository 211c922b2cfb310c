"""What engines say of themselves: vLLM's real scrape is understood, old names too; asleep engines get no requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from app.pipeline.endpoints import Endpoints
from app.providers import engines
from app.providers.engines import ALIASES, SLEEP, Engines, read
from app.providers.health import Prober, describe
from app.providers.transport import HttpTransport
from app.table import State, Table
from app.telemetry import (
    ENGINE_ASLEEP,
    ENGINE_KV_CACHE,
    ENGINE_OUTPUT_TOKENS,
    ENGINE_PREFIX_HITS,
    ENGINE_PREFIX_QUERIES,
    ENGINE_PROMPT_TOKENS,
    ENGINE_RUNNING,
    ENGINE_UP,
)
from tests.pipeline.parts import Counted, table
from tests.support.gateway import Gateway, one_each
from tests.support.upstream import Upstream

FIXTURES = Path("tests/fixtures/vllm")
SCRAPE = (FIXTURES / "metrics-scrape.txt").read_text()
CATALOGUES = {name: (FIXTURES / f"metrics-{name}.tsv").read_text() for name in ("generate", "pooling")}


def test_a_real_scrape_is_understood() -> None:
    """Of vLLM 0.32 after a suite of requests: every metric that we tell, with the figures that stand there."""
    values, asleep = read(SCRAPE)
    assert {alias.metric for alias in ALIASES} == set(values)
    assert (values[ENGINE_PROMPT_TOKENS], values[ENGINE_OUTPUT_TOKENS]) == (29382, 24410)
    assert (values[ENGINE_PREFIX_QUERIES], values[ENGINE_PREFIX_HITS]) == (29284, 15744)
    assert not asleep


@pytest.mark.parametrize("name", CATALOGUES)
def test_names_of_today_stand_in_the_list_of_every_real_server(name: str) -> None:
    """The newest name of each alias is one that vLLM exposes; a pooling model has them too."""
    names = {line.split("\t")[0] for line in CATALOGUES[name].splitlines()}
    assert {alias.names[0] for alias in ALIASES} | {SLEEP} <= names


def test_names_of_yesterday_are_understood() -> None:
    """A server that has not been renamed yet; where both stand there the newer one counts."""
    old = 'vllm:gpu_cache_usage_perc{model_name="m"} 0.5\n'
    assert read(old).values == {ENGINE_KV_CACHE: 0.5}
    assert read(old + 'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25\n').values == {ENGINE_KV_CACHE: 0.25}


def test_what_is_absent_is_not_zero() -> None:
    """Nor is what cannot be read."""
    assert read("").values == {}
    assert (
        read("<html>vllm: not found</html>\nvllm:num_requests_running\nvllm:kv_cache_usage_perc{} full\n").values == {}
    )


def test_several_engines_of_one_server_become_one() -> None:
    """Requests add up; of the caches the fullest is told; the server sleeps when all of them do."""
    text = "".join(
        f'vllm:num_requests_running{{engine="{number}"}} {number + 1}.0\n'
        f'vllm:kv_cache_usage_perc{{engine="{number}"}} 0.{number + 3}\n'
        f'{SLEEP}{{engine="{number}",sleep_state="awake"}} {number}.0\n'
        f'{SLEEP}{{engine="{number}",sleep_state="discard_all"}} 1.0\n'
        for number in range(2)
    )
    assert read(text) == ({ENGINE_RUNNING: 3.0, ENGINE_KV_CACHE: 0.4}, False)
    assert read(text.replace('awake"} 1.0', 'awake"} 0.0')).asleep


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions every few milliseconds."""
    monkeypatch.setattr(engines, "INTERVAL", 0.05)
    monkeypatch.setattr(engines, "INTERVAL_SILENT", 0.05)


class Watch:
    """Engines being watched, and probed."""

    def __init__(self, transport: HttpTransport, running: Table) -> None:
        loop = asyncio.get_running_loop()
        self.telemetry, self.running, self.endpoints = Counted(), State(running), Endpoints(loop.time)
        parts = self.running, self.endpoints, transport, self.telemetry, loop.time
        self.tasks = [asyncio.create_task(one.run()) for one in (Engines(*parts), Prober(*parts))]

    def told(self, metric: object, place: str = "0") -> float | None:
        """A series' value."""
        found = self.telemetry.read(metric).get(("one", place))  # type: ignore[arg-type]  # a metric
        return None if found is None else found[0]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for it. Raises AssertionError when it does not come."""
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, self.telemetry.cells.read()
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def watching(transport: HttpTransport, upstream: Upstream) -> AsyncIterator[Watch]:
    """The first deployment's only engine is watched."""
    watch = Watch(transport, table({"deployments[0].base_url": f"{upstream.url}/v1"}))
    yield watch
    for task in watch.tasks:
        task.cancel()
    await asyncio.gather(*watch.tasks, return_exceptions=True)


async def test_an_engine_is_told_of(watching: Watch, upstream: Upstream) -> None:
    """Gauges as they stand there; counters grow by what was made since."""
    await watching.until(lambda: watching.told(ENGINE_UP) == 1)
    upstream.set(kv_cache=0.875)
    await watching.until(lambda: watching.told(ENGINE_KV_CACHE) == 0.875)
    assert watching.told(ENGINE_OUTPUT_TOKENS) == 0


async def test_an_engine_that_does_not_answer_has_no_figures(watching: Watch, upstream: Upstream) -> None:
    """Neither the last ones nor zeros; it is told as not up."""
    await watching.until(lambda: watching.told(ENGINE_UP) == 1)
    watching.running.table = table({"deployments[0].base_url": "http://127.0.0.1:9/v1"})
    await watching.until(lambda: watching.told(ENGINE_UP) == 0)
    running = watching.told(ENGINE_RUNNING)
    assert running != running  # noqa: PLR0124 - NaN
    watching.running.table = table({"deployments[0].metrics": None})
    await watching.until(lambda: watching.told(ENGINE_UP) not in {0, 1})


async def test_an_engine_that_sleeps_leaves_and_comes_back(watching: Watch, upstream: Upstream) -> None:
    """Its health path answers 200 all the time."""
    deployment = watching.running.table.deployments["one"]
    await watching.until(lambda: watching.told(ENGINE_ASLEEP) == 0)
    upstream.set(asleep=True)
    await watching.until(lambda: not watching.endpoints.may_serve(deployment))
    assert describe(deployment, watching.endpoints) == "1 of 1 endpoints down, 1 asleep"
    await asyncio.sleep(0.2)
    assert not watching.endpoints.may_serve(deployment)
    upstream.set(asleep=False)
    await watching.until(lambda: watching.endpoints.may_serve(deployment))
    assert describe(deployment, watching.endpoints) == "ok"


def test_readiness_and_metrics_of_a_gateway(upstream: Upstream) -> None:
    """Two workers tell what the engine says once, not twice; a gateway whose only engine sleeps is not ready."""
    upstream.set(kv_cache=0.5)
    document = one_each(
        upstream.url,
        ["echo"],
        provider="vllm",
        health="/health",
        metrics="/metrics",
        sections={"server": {"workers": 2}},
    )
    with Gateway(document) as gateway:
        gateway.until(lambda: gateway.value("sluicegate_vllm_up", deployment="to-echo", endpoint="0") == 1)
        assert gateway.value("sluicegate_vllm_kv_cache_usage_ratio") == 0.5
        assert gateway.ops("/readyz").status_code == 200
        upstream.set(asleep=True)
        # The workers learn of it one after the other: the status and its reason are of one answer.
        gateway.until(lambda: (at := gateway.ops("/readyz")).status_code == 503 and "1 asleep" in at.text, seconds=30)
        upstream.set(asleep=False)
        gateway.until(lambda: gateway.ops("/readyz").status_code == 200, seconds=30)
