"""Three fake upstreams as the replicas of deployments, and a gateway in front."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from loadtests.server import free_port
from tests.pipeline.books import samples, seen
from tests.support.gateway import Gateway, config, deployment
from tests.support.sockets import chat_request, connect
from tests.support.upstream import Upstream

PATIENCE = 30.0
"""Seconds until a thing that takes one or two must have happened, on a machine with other work."""


class Replicas:
    """`plain` is a model whose deployment has no health path, `probed` one with; they share no health states."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._killed: set[int] = set()
        self.upstreams = [stack.enter_context(Upstream(port=free_port())) for _ in range(3)]
        self.gateway = stack.enter_context(Gateway(self.config()))

    def config(self, **settings: Any) -> dict[str, Any]:
        """The configuration, with settings of the deployments changed."""
        plain = [f"http://127.0.0.1:{one.port}" for one in self.upstreams]
        probed = [f"http://localhost:{one.port}" for one in self.upstreams]  # another name, so another health state
        deployments = [
            deployment("plain", plain, "echo", **settings),
            deployment("plain-hangs", plain, "hangs", **settings),
            deployment("probed", probed, "echo", **{"provider": "vllm", "health": "/health", **settings}),
        ]
        models = [{"name": one["name"], "stable": one["name"]} for one in deployments]
        return config(deployments, [*models, {"name": "echo", "stable": "plain"}])  # `config` has a key for `echo`

    def up(self, name: str) -> list[int]:
        """Which endpoints the gateway holds for healthy (its gauge is a second old)."""
        found = samples(self.gateway, "sluicegate_endpoint_up")
        places = {held["endpoint"]: int(value) for held, value in found if held["deployment"] == name}
        return [places[str(place)] for place in range(len(self.upstreams))]

    def until_up(self, name: str, *wanted: int) -> None:
        """Wait until the gateway holds these for healthy and the others not."""
        self.gateway.until(lambda: self.up(name) == list(wanted), seconds=PATIENCE, what=f"not {wanted}")

    def ask(self, name: str, times: int) -> list[int]:
        """Status codes of requests, one after the other."""
        return [self.gateway.chat(name).status_code for _ in range(times)]

    def seen(self) -> list[int]:
        """Requests that each replica has answered; 0 for one that is dead."""
        alive = (place not in self._killed for place in range(len(self.upstreams)))
        return [seen([one]) if lives else 0 for one, lives in zip(self.upstreams, alive, strict=True)]

    def kill(self, place: int) -> None:
        """Crash a replica."""
        self.upstreams[place].kill()
        self._killed.add(place)

    def restart(self, place: int) -> None:
        """Start a replica again, on the port that it had."""
        self._killed.discard(place)
        self.upstreams[place] = self._stack.enter_context(Upstream(port=self.upstreams[place].port))

    def reset(self) -> None:
        """Everybody is well, and the gateway knows."""
        for place in list(self._killed):
            self.restart(place)
        for upstream in self.upstreams:
            upstream.reset()
        for name in ("plain", "probed"):
            self.gateway.until(partial(self._well, name), seconds=PATIENCE, what=f"a replica of {name} stays away")
        for upstream in self.upstreams:
            upstream.reset()

    def _well(self, name: str) -> bool:
        self.ask(name, 3)
        return self.up(name) == [1, 1, 1]

    @contextmanager
    def held(self, name: str, times: int) -> Iterator[None]:
        """Requests that hang, for as long as the context lasts."""
        open_ones: list[socket.socket] = []
        try:
            while len(open_ones) < times:
                open_ones.append(connect(self.gateway.url))
                open_ones[-1].sendall(chat_request(name, stream=False))
                self.gateway.until(lambda: sum(self.running()) == len(open_ones))
            yield
        finally:
            for connection in open_ones:
                connection.close()

    def running(self) -> list[int]:
        """Requests under way at each replica."""
        return [one.stats()["running"] for one in self.upstreams]
