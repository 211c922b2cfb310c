"""Sluicegate, from this checkout."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from loadtests.peers import features
from loadtests.peers.base import Setup, Site, missing
from loadtests.peers.features import Feature
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
    """How to start a worker with this configuration; its stores are files in the site's folder unless it says more."""
    path = site.folder / "sluicegate.yaml"
    own = {"database": f"sqlite+aiosqlite:///{site.folder}/ledger.db", "spool": f"{site.folder}/spool"}
    # JSON is YAML.
    path.write_text(json.dumps({**document, "stores": {**own, **document.get("stores", {})}}, indent=1))
    argv = (str(PROGRAM), "serve", "--config", str(path))
    return Launch(argv, f"http://127.0.0.1:{site.port}/readyz", {"SLUICEGATE_LOAD_KEY": KEY})


class Sluicegate:
    """One worker; keys, usage, cost, metrics and the log line per request on, and what `features` add."""

    def __init__(self, name: str, note: str, *features: Feature) -> None:
        self.name = name
        self.note = note
        self.features = features

    def absent(self) -> str | None:
        """Needs `make setup`."""
        return missing(PROGRAM, self.name) and f"{PROGRAM} is missing: make setup"

    def version(self) -> str:
        """The checkout's."""
        return metadata.version("sluicegate")

    def setup(self, site: Site) -> Setup:
        """The benchmark's three models, one key."""
        served = [Served(name, site.upstream, name) for name in (WHOLE_MODEL, STREAM_MODEL, BRIEF_MODEL)]
        document = config(site.port, free_port(), served)
        for feature in self.features:
            feature(document, site)
        return Setup(serve(site, document), site.port, (("authorization", f"Bearer {KEY}"),))


_ON = "one worker, provider openai; keys, usage, cost and metrics on"
_BARE = (features.no_ledger, features.quiet)
VARIANTS = (
    Sluicegate("sluicegate-bare", f"{_ON}; the ledger and the line in the log per request off", *_BARE),
    Sluicegate("sluicegate", f"{_ON}; a line in the log per request, the ledger in SQLite, as by default"),
    Sluicegate("sluicegate-postgres", "the same with the ledger in PostgreSQL", features.postgres),
    Sluicegate(
        "sluicegate-budgets", "as sluicegate, with budgets on four scopes and three limits in Redis", features.budgets
    ),
    Sluicegate("sluicegate-guard", "as bare, with rules and pii on prompt and answer", *_BARE, features.guard),
    Sluicegate("sluicegate-canary", "as bare, with 10 % to a candidate", *_BARE, features.canary),
    Sluicegate(
        "sluicegate-traces",
        "as bare, with the line in the log and 1 % of traces to a collector",
        features.no_ledger,
        features.traces,
    ),
    Sluicegate("sluicegate-all", "all of it, the ledger in PostgreSQL", *features.ALL),
    Sluicegate(
        "sluicegate-polling",
        "as sluicegate-all; it looks for work 5 ms before it sleeps",
        *features.ALL,
        features.polling,
    ),
)
