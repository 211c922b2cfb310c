"""Four workers on PostgreSQL and Redis count what their callers counted, also when workers are killed under load."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple

import httpx2
import orjson
import pytest

from tests.grafana.load import meant
from tests.proofs.crashes import Row, rows
from tests.support.gateway import KEY, PLAIN, Gateway, one_each
from tests.support.postgres import Postgres
from tests.support.redis import Redis
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LIMIT = 50_000_000
SLICE = LIMIT // (50 * 4)
"""What a worker holds of it."""
STREAM, CUT = "answer-24+pace-2ms", "dies-after-3"
ASKED = (
    (STREAM, True),
    (STREAM, False),
    ("echo", True),
    ("echo", False),
    (CUT, True),
    ("fail-500", False),
    ("nobody", False),
)
CALLERS = 12


class Scene(NamedTuple):
    """What runs."""

    gateway: Gateway
    database: str


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Four workers, a tenant with a budget."""
    with ExitStack() as stack:
        upstream, database = stack.enter_context(Upstream()), stack.enter_context(Postgres())
        stores = {"database": database.url, "limits": stack.enter_context(Redis()).url}
        document = one_each(upstream.url, [STREAM, CUT, "fail-500"], sections={"stores": stores})
        document["tenants"][0]["budgets"] = [{"window": "total", "tokens": LIMIT}]
        gateway = stack.enter_context(Gateway(document, arguments=["--workers", "4"]))
        gateway.until(lambda: len(gateway.workers()) == 4, seconds=60)
        gateway.until(lambda: gateway.ops("/readyz").json()["checks"]["ledger"] == "ok", seconds=60)
        yield Scene(gateway, database.url)


class Callers:
    """Ask until told to stop, each on a connection of its own each time; remember what they were told."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._going = True
        self.outcomes: Counter[str] = Counter()
        self.ids: set[str] = set()
        """Requests whose whole answer came."""
        self.cut = 0
        """Requests whose connection broke."""

    def run(self, seconds: float, *kills: int) -> None:
        """Ask for so long; on the way workers with these numbers are killed, evenly spread."""
        with ThreadPoolExecutor(CALLERS) as pool:
            self._going = True
            calling = [pool.submit(self._call, number) for number in range(CALLERS)]
            for worker in kills:
                time.sleep(seconds / (len(kills) + 1))
                self._replace(worker)
            time.sleep(seconds / (len(kills) + 1))
            self._going = False
            for one in calling:
                one.result()

    def _replace(self, worker: int) -> None:
        victim = self._gateway.workers()[worker]
        os.kill(victim, signal.SIGKILL)
        self._gateway.until(lambda: self._gateway.workers()[worker] != victim, seconds=60)

    def _call(self, turn: int) -> None:
        while self._going:
            turn += 1
            model, stream = ASKED[turn % len(ASKED)]
            body = {
                "model": model,
                "stream": stream,
                "messages": [{"role": "user", "content": "one two"}],
                "max_tokens": 32,
            }
            headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
            url = f"{self._gateway.url}/v1/chat/completions"
            try:
                answer = httpx2.post(url, content=orjson.dumps(body), headers=headers, timeout=60, **PLAIN)
            except httpx2.HTTPError:
                self.cut += 1
                continue
            self.outcomes[meant(answer)] += 1
            self.ids.add(answer.headers["x-request-id"])


def counted(gateway: Gateway) -> Counter[str]:
    """Requests by outcome, as the gateway counts them now that nothing is under way."""
    gateway.until(lambda: gateway.value("sluicegate_in_flight") == 0, seconds=30)
    return Counter(gateway.outcomes())


def summed(found: list[Row]) -> tuple[int, int, int]:
    """Input tokens, output tokens and nano-USD of these rows."""
    return tuple(sum(row[name] for row in found) for name in ("input_tokens", "output_tokens", "charged_nano"))


def scraped(gateway: Gateway) -> tuple[int, int, int]:
    """The same from the metrics."""
    tokens = [gateway.value("gen_ai_client_token_usage_sum", gen_ai_token_type=kind) for kind in ("input", "output")]
    return int(tokens[0]), int(tokens[1]), round(gateway.value("sluicegate_cost_usd_total") * 1e9)


def charged(found: list[Row]) -> int:
    """Tokens that budgets count of these rows."""
    return sum(row["charged_tokens"] for row in found)


def ledger(scene: Scene, count: float) -> list[Row]:
    """The ledger, once it has so many rows."""

    def enough() -> bool:
        return len(asyncio.run(rows(scene.database))) >= count

    scene.gateway.until(enough, seconds=40, what=f"the ledger never has {count} rows")
    return asyncio.run(rows(scene.database))


def reached(gateway: Gateway) -> float:
    """Requests that came as far as a deployment."""
    found: dict[Any, float] = gateway.metrics()
    return sum(
        value
        for (name, labels), value in found.items()
        if name == "sluicegate_requests_total" and dict(labels)["deployment"] != "-"
    )


def test_counters_are_the_callers(scene: Scene) -> None:
    """Exactly: outcomes, tokens and cost; after kill -9 what was cut is apart, in the ledger, at its bound."""
    gateway, callers = scene.gateway, Callers(scene.gateway)
    callers.run(5)
    assert counted(gateway) == callers.outcomes
    assert callers.cut == 0
    assert callers.outcomes.keys() == {"ok", "upstream_error", "refused_invalid"}
    found = ledger(scene, reached(gateway))
    assert scraped(gateway) == summed(found)
    gateway.until(lambda: gateway.value("sluicegate_budget_used") == charged(found), seconds=60)

    callers.run(6, 1, 3)
    before, told = counted(gateway), callers.outcomes.copy()
    more = before - told
    assert told - before == Counter()  # whatever was answered is counted
    assert more.total() <= callers.cut  # counted, and cut between that and the caller
    assert callers.cut > 0

    callers.run(5)
    assert counted(gateway) - before == callers.outcomes - told
    assert before - counted(gateway) == Counter()

    found = ledger(scene, reached(gateway))
    apart = [row for row in found if row["outcome"] == "internal_error"]
    assert [row["method"] for row in apart if row["method"] not in ("bound", "nothing_sent")] == []
    assert len(apart) + more.total() <= callers.cut
    assert {row["request_id"] for row in apart}.isdisjoint(callers.ids)
    rest = [row for row in found if row["outcome"] != "internal_error"]
    assert len(rest) == reached(gateway)
    assert scraped(gateway) == summed(rest)

    # Gauges that one worker shows for all: neither doubled nor left behind by the dead. What the two that were killed
    # had spent of their slices stays reserved until their lease ends.
    assert gateway.value("sluicegate_budget_limit") == LIMIT
    gateway.until(lambda: gateway.value("sluicegate_budget_reserved") == 2 * SLICE, seconds=60)
    assert charged(found) - 2 * SLICE <= gateway.value("sluicegate_budget_used") < charged(found)
    assert gateway.value("sluicegate_build_info") == 4
