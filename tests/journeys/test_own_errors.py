"""Many requests fail at the same time, and each caller is told what became of his own.

Compiled or not: an error that is being handled while its request waits must not become another request's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import httpx2

from tests.support.gateway import Gateway, config, deployment
from tests.support.redis import Redis
from tests.support.upstream import Upstream

FAULTS = {
    "closes": (502, "The upstream's answer broke off."),
    "html": (502, "The upstream's answer is malformed."),
    "hangs": (504, "The upstream did not answer in time."),
}
CALLERS = 30
"""Of each fault."""
TOKENS = 700
"""Each caller's budget: one attempt fits, and once it may have been billed, no second beside it."""


def test_everybody_gets_his_own_error(upstream: Upstream, tmp_path: Path) -> None:
    """A fallback is looked for, asked about in Redis and not paid for, while others find names' addresses and fail."""
    apart = upstream.url.replace("127.0.0.1", "localhost")
    deployments = [deployment(f"to-{fault}", apart, fault, timeouts={"first_token": 0.3}) for fault in FAULTS]
    deployments.append(deployment("to-echo", upstream.url, "echo"))
    models = [{"name": fault, "stable": f"to-{fault}", "fallbacks": ["to-echo"]} for fault in FAULTS]
    models.append({"name": "echo", "stable": "to-echo"})
    keys = []
    for number in range(CALLERS * len(FAULTS)):
        secret = tmp_path / str(number)
        secret.write_text(f"sk-test-own-{number}")
        budget = {"window": "total", "tokens": TOKENS}
        keys.append({"name": f"k{number}", "secret": f"file:{secret}", "budgets": [budget]})
    with Redis() as redis:
        document = config(deployments, models, stores={"limits": redis.url})
        document["tenants"][0]["keys"] += keys
        with Gateway(document) as gateway:
            answers = asyncio.run(_all_at_once(gateway))
    assert answers == Counter({(fault, *told): CALLERS for fault, told in FAULTS.items()})


async def _all_at_once(gateway: Gateway) -> Counter[tuple[str, int, str]]:
    """What each caller is told: one request each, all of them at the same time."""
    fields = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 500, "stream": True}
    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:

        async def ask(number: int, fault: str) -> tuple[str, int, str]:
            answer = await client.post(
                f"{gateway.url}/v1/chat/completions",
                json={"model": fault, **fields},
                headers={"authorization": f"Bearer sk-test-own-{number}"},
            )
            return fault, answer.status_code, answer.json()["error"]["message"]

        faults = list(FAULTS) * CALLERS
        return Counter(await asyncio.gather(*(ask(number, fault) for number, fault in enumerate(faults))))
