"""What the gateway can do beside routing, one function each: it changes a configuration, and starts what that needs.

Databases, Redis and collector run beside the upstream, on the other core: what they take is not the gateway's.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from loadtests.peers.base import REPOSITORY, Site
from tests.support.postgres import Postgres
from tests.support.redis import Redis

Feature = Callable[[dict[str, Any], Site], None]

PLENTY = [{"window": "day", "tokens": 10**15}]
"""Budgets that are never used up."""
UNREACHED = {"requests_per_minute": 10**9, "tokens_per_minute": 10**9, "concurrent": 10**6}
"""A tenant's limits that never refuse."""


def no_ledger(document: dict[str, Any], _site: Site) -> None:
    """Nothing is written down."""
    document.setdefault("stores", {})["ledger"] = False


def quiet(document: dict[str, Any], _site: Site) -> None:
    """No line in the log for each request, as the router is started."""
    document.setdefault("telemetry", {})["access_log"] = "none"


def postgres(document: dict[str, Any], site: Site) -> None:
    """The ledger in PostgreSQL."""
    document.setdefault("stores", {})["database"] = site.beside.enter_context(Postgres()).url


def budgets(document: dict[str, Any], site: Site) -> None:
    """Budgets of key, tenant, model and everything, and the tenant's limits, in Redis; none is ever reached."""
    held_to(document, site.beside.enter_context(Redis()).url)


def held_to(document: dict[str, Any], limits: str) -> None:
    """The same in the Redis at the URL `limits`."""
    document.setdefault("stores", {})["limits"] = limits
    tenant = document["tenants"][0]
    tenant["limits"] = UNREACHED
    tenant["budgets"] = document["budgets"] = tenant["keys"][0]["budgets"] = PLENTY
    for model in document["models"]:
        model["budgets"] = PLENTY


def guard(document: dict[str, Any], _site: Site) -> None:
    """Rules and pii on both sides, strict: nothing is found, everything is looked at."""
    looks = {"detectors": ["rules", "pii"], "actions": {"pii": "redact", "blocklist": "block"}}
    document["guards"] = [{"name": "default", "blocklist": ["internal codename"], "prompt": looks, "completion": looks}]
    for model in document["models"]:
        model["guard"] = "default"


def canary(document: dict[str, Any], _site: Site) -> None:
    """A tenth of the traffic goes to a candidate, which is as good."""
    document["deployments"] += [{**one, "name": f"{one['name']}-next"} for one in document["deployments"]]
    for model in document["models"]:
        model.update(candidate=f"{model['stable']}-next", weight=10)


def traces(document: dict[str, Any], site: Site) -> None:
    """A hundredth of the traces goes to a collector."""
    port = site.beside.enter_context(_collector())
    document.setdefault("telemetry", {}).update(otlp_endpoint=f"http://127.0.0.1:{port}", trace_sample=0.01)


def polling(document: dict[str, Any], _site: Site) -> None:
    """A worker that is nearly idle looks for work for longer than the pieces of a stream are apart."""
    document["server"]["busy_poll"] = "5ms"


ALL: tuple[Feature, ...] = (postgres, budgets, guard, canary, traces)


@contextmanager
def _collector() -> Iterator[int]:
    """A receiver of spans; its port."""
    argv = [sys.executable, "-m", "tests.support.otlp_server"]
    with subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as receiver:
        try:
            if receiver.stdout is None:
                raise RuntimeError("no output")
            yield int(receiver.stdout.readline())
        finally:
            receiver.terminate()
