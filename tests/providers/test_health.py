"""Probes: what takes an endpoint out and what brings it back, each in a task of its own, before real servers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio

from app.exchange import Timeouts
from app.pipeline.endpoints import STRIKES, Endpoints, EndpointState
from app.providers import health
from app.providers.health import Prober, describe
from app.providers.transport import HttpTransport
from app.table import State, Table
from app.telemetry import ENDPOINT_UP
from loadtests.server import free_port
from tests.pipeline.parts import Counted, table
from tests.support.upstream import Upstream

MOST_LOOKS = 2000
"""A hundredth of a second apart."""


@pytest.fixture(scope="module")
def port() -> int:
    """One that only this test's server gets; taken before a test counts its sockets."""
    return free_port()


@pytest.fixture(scope="module")
def second() -> Iterator[Upstream]:
    """Another upstream."""
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def other(second: Upstream) -> Upstream:
    """The same, fresh."""
    second.reset()
    return second


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes every few milliseconds, and impatient ones."""
    monkeypatch.setattr(health, "INTERVAL_UP", 0.02)
    monkeypatch.setattr(health, "INTERVAL_DOWN", 0.02)
    monkeypatch.setattr(health, "TIMEOUTS", Timeouts(connect=1.0, first_token=1.0, between_tokens=1.0, total=1.0))


def probed(*upstreams: Upstream, path: str | None = "/health", **changes: Any) -> Table:
    """A table whose first deployment has these replicas and this health path."""
    urls = [f"{upstream.url}/v1" for upstream in upstreams]
    settings = {"base_url": None, "endpoints": urls, "health": path, **changes}
    return table({f"deployments[0].{name}": value for name, value in settings.items()})


class Watch:
    """A prober at work."""

    def __init__(self, transport: HttpTransport, running: Table) -> None:
        loop = asyncio.get_running_loop()
        self.telemetry = Counted()
        self.running = State(running)
        self.endpoints = Endpoints(loop.time)
        self.prober = Prober(self.running, self.endpoints, transport, self.telemetry, loop.time)
        self.task = asyncio.create_task(self.prober.run(), name="prober")

    @property
    def states(self) -> list[EndpointState]:
        """Of the first deployment's endpoints."""
        return [self.endpoints.state(endpoint) for endpoint in self.running.table.deployments["one"].endpoints]

    def up(self) -> list[bool]:
        """Which of them are up."""
        return [state.up for state in self.states]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for it. Raises AssertionError when it does not come."""
        for _ in range(MOST_LOOKS):
            if condition():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"it never came; up: {self.up()}")


@pytest_asyncio.fixture
async def watching(transport: HttpTransport) -> AsyncIterator[Callable[[Table], Watch]]:
    """Starts probers; none outlives its test."""
    watches: list[Watch] = []

    def watch(running: Table) -> Watch:
        watches.append(Watch(transport, running))
        return watches[-1]

    yield watch
    for one in watches:
        one.task.cancel()
        await asyncio.gather(one.task, return_exceptions=True)


Watching = Callable[[Table], Watch]


def probes(upstream: Upstream, path: str = "/health") -> int:
    """How often it was asked."""
    return sum(line["path"] == path for line in upstream.log())


async def test_a_status_that_is_not_200(watching: Watching, upstream: Upstream, other: Upstream) -> None:
    """Takes that endpoint out at once, and no other; a 200 brings it back without any request."""
    watch = watching(probed(upstream, other))
    await watch.until(lambda: probes(upstream) > 0 and probes(other) > 0)
    assert watch.up() == [True, True]
    upstream.set(health=503)
    await watch.until(lambda: watch.up() == [False, True])
    upstream.set(health=200)
    await watch.until(lambda: watch.up() == [True, True])


async def test_a_server_that_is_gone(watching: Watching, upstream: Upstream, port: int) -> None:
    """A refused connection is enough; started again on its port, it is back."""
    with Upstream(port=port) as short:
        watch = watching(probed(upstream, short))
        await watch.until(lambda: probes(short) > 0)
        short.kill()
        await watch.until(lambda: watch.up() == [True, False])
    with Upstream(port=port):
        await watch.until(lambda: watch.up() == [True, True])


async def test_a_server_that_hangs_delays_no_other(watching: Watching, upstream: Upstream, other: Upstream) -> None:
    """Two probes without an answer take it out; meanwhile the other is probed as ever."""
    watch = watching(probed(upstream, other))
    await watch.until(lambda: probes(other) > 0)
    os.kill(other.pid, signal.SIGSTOP)
    try:
        upstream.set(health=503)
        await watch.until(lambda: watch.up()[0] is False)
        upstream.set(health=200)
        before = probes(upstream)
        await watch.until(lambda: watch.up() == [True, False])
        assert probes(upstream) > before + 3
    finally:
        os.kill(other.pid, signal.SIGCONT)
    await watch.until(lambda: watch.up() == [True, True])


async def test_a_probe_that_is_late_while_requests_succeed(watching: Watching, other: Upstream) -> None:
    """The machine is busy, not the server ill: it stays."""
    watch = watching(probed(other))
    await watch.until(lambda: probes(other) > 0)
    os.kill(other.pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            await watch.until(lambda: watch.states[0].missed == 1)
            watch.states[0].answered()  # as an attempt that succeeds does
        assert watch.up() == [True]
    finally:
        os.kill(other.pid, signal.SIGCONT)


async def test_bad_answers_are_not_made_good_by_health(watching: Watching, upstream: Upstream) -> None:
    """A draining vLLM: probes say 200, and open a trial once the pause is over, no more."""
    watch = watching(probed(upstream))
    await watch.until(lambda: probes(upstream) > 0)
    state = watch.states[0]
    for _ in range(STRIKES):
        state.erred(asyncio.get_running_loop().time())
    await watch.until(lambda: state.on_trial)
    assert not state.up
    assert asyncio.get_running_loop().time() >= state.retry_at


async def test_a_health_path_may_be_any_path(watching: Watching, upstream: Upstream) -> None:
    """Also one whose body is long: the status is what is asked for."""
    upstream.set(aliases={f"model-{number}": "echo" for number in range(200)})
    watch = watching(probed(upstream, path="/v1/models"))
    await watch.until(lambda: probes(upstream, "/v1/models") > 4)
    assert watch.up() == [True]


async def test_the_table_is_followed(watching: Watching, upstream: Upstream, other: Upstream) -> None:
    """Endpoints and paths that come are probed, those that go are not any more; health goes on where it stood."""
    watch = watching(probed(upstream))
    await watch.until(lambda: probes(upstream) > 0)
    upstream.set(health=503)
    await watch.until(lambda: watch.up() == [False])
    watch.running.table = probed(upstream, other, path="/v1/models")
    assert watch.up() == [False, True]
    await watch.until(lambda: watch.up() == [True, True] and probes(other, "/v1/models") > 0)
    old = probes(upstream)
    await watch.until(lambda: probes(upstream, "/v1/models") > 5)
    assert probes(upstream) <= old + 1
    watch.running.table = probed(other, path=None)
    await watch.until(lambda: len(asyncio.all_tasks()) == 2)  # the test and the prober


async def test_up_is_a_metric(watching: Watching, upstream: Upstream, other: Upstream) -> None:
    """One series per endpoint, by its place; where there is no health path too."""
    watch = watching(probed(upstream, other))
    watch.states[1].unreachable(0.0)
    other.set(health=503)
    await watch.until(lambda: ("one", "1") in watch.telemetry.read(ENDPOINT_UP))
    await watch.until(lambda: watch.telemetry.read(ENDPOINT_UP)["one", "1"] == (0.0,))
    assert watch.telemetry.read(ENDPOINT_UP)["one", "0"] == (1.0,)
    assert ("two", "0") in watch.telemetry.read(ENDPOINT_UP)


def test_a_deployments_state_in_words() -> None:
    """`ok`, or how many are down."""
    endpoints = Endpoints(lambda: 0.0)
    one = table(
        {"deployments[0].base_url": None, "deployments[0].endpoints": ["http://a/v1", "http://b/v1"]}
    ).deployments["one"]
    assert describe(one, endpoints) == "ok"
    endpoints.state(one.endpoints[0]).unreachable(0.0)
    assert describe(one, endpoints) == "1 of 2 endpoints down"
