"""Asks endpoints with a health path how they are, each in a task of its own, so that a slow one delays no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from app.errors import Failure, UpstreamFailure
from app.exchange import Endpoint, Outbound, Timeouts
from app.pipeline.call import Transport
from app.pipeline.endpoints import Endpoints
from app.table import Deployment, State
from app.tasks import TaskGroup
from app.telemetry import ENDPOINT_UP, Telemetry

INTERVAL_UP = 5.0
INTERVAL_DOWN = 1.0
TIMEOUTS = Timeouts(connect=2.0, first_token=3.0, between_tokens=3.0, total=3.0)
_MOST = 4096


class Prober:
    """Keeps one probing task per endpoint and health path of the current table."""

    def __init__(
        self, state: State, endpoints: Endpoints, transport: Transport, telemetry: Telemetry, clock: Callable[[], float]
    ) -> None:
        self._state = state
        self._endpoints = endpoints
        self._transport = transport
        self._telemetry = telemetry
        self._clock = clock
        self._tasks = TaskGroup("health")
        self._probing: dict[tuple[Endpoint, str], asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Follow the table until cancelled."""
        try:
            while True:
                self._follow()
                await asyncio.sleep(1.0)
        finally:
            await self._tasks.aclose()

    def _follow(self) -> None:
        deployments = self._state.table.deployments.values()
        wanted = {
            (endpoint, deployment.health)
            for deployment in deployments
            if deployment.health is not None
            for endpoint in deployment.endpoints
        }
        for gone in self._probing.keys() - wanted:
            self._probing.pop(gone).cancel()
        for endpoint, path in wanted - self._probing.keys():
            self._probing[endpoint, path] = self._tasks.spawn(endpoint.url, self._probe(endpoint, path))
        for deployment in deployments:
            for place, endpoint in enumerate(deployment.endpoints):
                up = self._endpoints.state(endpoint).up
                self._telemetry.gauge(ENDPOINT_UP, deployment.name, str(place)).set(float(up))
        self._endpoints.retain({endpoint for deployment in deployments for endpoint in deployment.endpoints})

    async def _probe(self, endpoint: Endpoint, path: str) -> None:
        request = Outbound("GET", path, (("accept", "*/*"),), b"", stream=False, from_root=True)
        while True:
            state = self._endpoints.state(endpoint)
            try:
                status = await self._ask(endpoint, request)
            except UpstreamFailure as failure:
                if failure.failure is Failure.CONNECT:
                    state.unreachable(self._clock())
                else:
                    state.silent(self._clock())
            else:
                if status == 200:
                    state.healthy(self._clock())
                else:
                    state.unreachable(self._clock())
            await asyncio.sleep(INTERVAL_UP if state.up and not state.missed else INTERVAL_DOWN)

    async def _ask(self, endpoint: Endpoint, request: Outbound) -> int:
        """The status that a probe is answered with. Raises `UpstreamFailure`."""
        deadline = asyncio.get_running_loop().time() + TIMEOUTS.total
        reply = await self._transport.send(endpoint, request, TIMEOUTS, deadline)
        try:
            with suppress(UpstreamFailure):  # the status has been said; read on only to keep the connection
                await reply.read_all(_MOST)
        finally:
            reply.close()
        return reply.status


def describe(deployment: Deployment, endpoints: Endpoints) -> str:
    """A deployment's state in words: `ok`, or how many of its endpoints are down, and of those asleep."""
    states = [endpoints.state(endpoint) for endpoint in deployment.endpoints]
    down = sum(1 for state in states if not state.up)
    asleep = sum(1 for state in states if state.asleep)
    told = f"{down} of {len(states)} endpoints down" if down else "ok"
    return f"{told}, {asleep} asleep" if asleep else told
