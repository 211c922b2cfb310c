"""A gateway with everything on under mixed load, and a real Prometheus: for the tests of boards and their pictures."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from tests.grafana import load
from tests.grafana.load import Load, document
from tests.support.gateway import Gateway
from tests.support.otlp import Receiver
from tests.support.postgres import Postgres
from tests.support.prometheus import Prometheus
from tests.support.redis import Redis
from tests.support.upstream import Upstream

WINDOW = "20s"
"""What stands for `$__rate_interval`: scrapes are a second apart here."""


class Scene(NamedTuple):
    """What ran, and what was counted."""

    gateway: Gateway
    prometheus: Prometheus
    load: Load
    receiver: Receiver
    began: float
    """When the load began, in seconds since 1970."""


@contextmanager
def played(seconds: float) -> Iterator[Scene]:
    """A gateway with everything on, after so many seconds of mixed load, scraped all the time."""
    with ExitStack() as stack:
        receiver, database = stack.enter_context(Receiver()), stack.enter_context(Postgres())
        upstream, engine = stack.enter_context(Upstream()), stack.enter_context(Upstream())
        limits = stack.enter_context(Redis()).url
        where = {"collector": receiver.url, "database": database.url, "limits": limits}
        gateway = Gateway(document(upstream.url, engine.url, **where))
        gateway.environ |= {"TEST_OTHER_KEY": load.OTHER_KEY, "TEST_POOR_KEY": load.POOR_KEY}
        stack.enter_context(gateway)
        prometheus = stack.enter_context(Prometheus(gateway.ops_url.removeprefix("http://")))
        gateway.until(lambda: gateway.value("sluicegate_vllm_up") >= 2, seconds=60)
        gateway.until(lambda: gateway.ops("/readyz").json()["checks"]["ledger"] == "ok", seconds=60)
        assert gateway.admin("/admin/v1/rollouts/chat/start", {"reason": "the load"}).json()["state"] == "running"
        gateway.until(lambda: gateway.value("sluicegate_rollout_weight", deployment="llama-v2") == 50, seconds=20)
        asked, began = Load(gateway), time.time()
        asked.run(2.0)  # every series is there before the first of those scrapes that are compared
        time.sleep(2.5)
        gateway.ops("/admin/v1/config/reload", method="POST")
        asked.run(seconds)
        gateway.until(lambda: gateway.value("sluicegate_in_flight") == 0, seconds=30)
        gateway.until(lambda: gateway.value("sluicegate_requests_total") == asked.total, seconds=30)
        gateway.until(lambda: gateway.value("sluicegate_shadow_in_flight") == 0, seconds=30)
        time.sleep(3.0)
        yield Scene(gateway, prometheus, asked, receiver, began)


def concrete(expr: str) -> str:
    """A panel's query as Grafana would send it: variables at `All`."""
    expr = expr.replace("$__rate_interval", WINDOW)
    return re.sub(r"\$(?:model|tenant|deployment)\b", ".*", expr)
