"""vllm-router: a Rust router in a Python wheel; it routes and does nothing else."""

from __future__ import annotations

from loadtests.peers.base import INSTALLED, Setup, Site, missing, wheel_version
from loadtests.server import Launch, free_port

_PROGRAM = INSTALLED / "vllm-router" / "bin" / "vllm-router"


class VllmRouter:
    """Policy round_robin over one worker; defaults otherwise, but warnings only in the log, as one would run it."""

    name = "vllm-router"
    note = "--policy round_robin --log-level warning, defaults otherwise (its Prometheus exporter is on by default)"

    def absent(self) -> str | None:
        """Needs its environment."""
        return missing(_PROGRAM, self.name)

    def version(self) -> str:
        """The wheel's."""
        return wheel_version(self.name, self.name)

    def setup(self, site: Site) -> Setup:
        """One worker: the upstream."""
        argv = (str(_PROGRAM), "--worker-urls", site.upstream_url, "--policy", "round_robin", "--host", "127.0.0.1")
        ports = ("--port", str(site.port), "--prometheus-port", str(free_port()))
        ready = f"http://127.0.0.1:{site.port}/health"
        return Setup(Launch((*argv, *ports, "--log-level", "warning"), ready, {}, patience=60), site.port)
