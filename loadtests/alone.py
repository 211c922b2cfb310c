"""One worker and the upstream that it asks, for scripts that measure nothing else."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests import cpu
from loadtests.bench import choose_cores, upstream_launch
from loadtests.peers.base import Site
from loadtests.peers.sluicegate import KEY, Served, config, serve
from loadtests.server import Server, free_port, settled_on
from loadtests.workload import Door


@dataclass(frozen=True, slots=True)
class Alone:
    """The worker and how to ask it."""

    server: Server
    door: Door

    def memory(self) -> cpu.Memory:
        """What all of its processes hold now."""
        return cpu.memory(self.server.pids())


@contextmanager
def worker(models: Sequence[str], changes: dict[str, Any] | None = None) -> Iterator[Alone]:
    """A worker on a core of its own that serves these models of the fake upstream; `changes` go into `server`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # what is started here may open as many
    cores = choose_cores()
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        stack.enter_context(settled_on(cores.others))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="alone-")))
        upstream, port = free_port(), free_port()
        stack.enter_context(Server(upstream_launch(upstream), folder / "upstream.log", [cores.others]))
        document = config(port, free_port(), [Served(name, upstream, name) for name in models])
        document["server"].update(changes or {})
        launch = serve(Site(port, upstream, folder), document)
        server = stack.enter_context(Server(launch, folder / "gateway.log", [cores.gateway]))
        yield Alone(server, Door("127.0.0.1", port, (("authorization", f"Bearer {KEY}"),)))
