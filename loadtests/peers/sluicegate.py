"""Sluicegate, from this checkout."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from loadtests.peers.base import Setup, Site, missing
from loadtests.server import Launch, free_port
from loadtests.workload import BRIEF_MODEL, STREAM_MODEL, WHOLE_MODEL

PROGRAM = Path(sys.executable).with_name("sluicegate")
KEY = "sk-sluicegate-load"


@dataclass(frozen=True, slots=True)
class Served:
    """A model of the gateway: its name, the upstream's port and name for it, and its deployment's other settings."""

    name: str
    port: int
    model: str
    settings: dict[str, Any] = field(default_factory=dict)

    def deployment(self) -> dict[str, Any]:
        """Its entry under `deployments`."""
        return {
            "name": f"to-{self.name}",
            "provider": "openai",
            "base_url": f"http://127.0.0.1:{self.port}/v1",
            "model": self.model,
            "context_window": 131072,
            "max_output_tokens": 4096,
            "price": {"input": 0.15, "output": 0.60, "cached_input": 0.075},
            **self.settings,
        }


def config(port: int, ops: int, served: list[Served]) -> dict[str, Any]:
    """A configuration that serves these models on `port`, with keys, usage, cost and metrics on."""
    return {
        "server": {"host": "127.0.0.1", "port": port, "workers": 1, "ops": {"host": "127.0.0.1", "port": ops}},
        "deployments": [one.deployment() for one in served],
        "models": [{"name": one.name, "stable": f"to-{one.name}"} for one in served],
        "tenants": [{"name": "load", "keys": [{"name": "load", "secret": "env:SLUICEGATE_LOAD_KEY"}]}],
    }


def serve(site: Site, document: dict[str, Any]) -> Launch:
    """How to start a worker with this configuration."""
    path = site.folder / "sluicegate.yaml"
    stores = {"database": f"sqlite+aiosqlite:///{site.folder}/ledger.db", "spool": f"{site.folder}/spool"}
    # JSON is YAML.
    path.write_text(json.dumps({**document, "stores": stores}, indent=1))
    argv = (str(PROGRAM), "serve", "--config", str(path))
    return Launch(argv, f"http://127.0.0.1:{site.port}/readyz", {"SLUICEGATE_LOAD_KEY": KEY})


class Sluicegate:
    """One worker; keys, usage, cost, metrics and the log line per request on."""

    name = "sluicegate"
    note = "one worker, provider openai; keys, usage, cost, metrics and a log line per request on"

    def absent(self) -> str | None:
        """Needs `make setup`."""
        return missing(PROGRAM, self.name) and f"{PROGRAM} is missing: make setup"

    def version(self) -> str:
        """The checkout's."""
        return metadata.version("sluicegate")

    def setup(self, site: Site) -> Setup:
        """The benchmark's three models, one key."""
        served = [Served(name, site.upstream, name) for name in (WHOLE_MODEL, STREAM_MODEL, BRIEF_MODEL)]
        launch = serve(site, config(site.port, free_port(), served))
        return Setup(launch, site.port, (("authorization", f"Bearer {KEY}"),))
