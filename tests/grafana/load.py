"""Mixed load for the dashboards: what is asked of a gateway with everything on, and what was counted meanwhile."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import orjson

from tests.support.gateway import PLAIN, Gateway, config, deployment

OTHER_KEY = "sk-test-other"
Json = dict[str, Any]

ASKED: tuple[tuple[str, bool, str], ...] = (
    ("chat", True, "main"), ("chat", True, "other"), ("chat", False, "main"), ("chat", True, "main"),
    ("slow", True, "main"), ("saved", False, "other"), ("fails", False, "main"), ("fails", True, "other"),
    ("breaks", True, "main"), ("busy", False, "main"), ("nobody", False, "main"), ("chat", False, "stranger"),
)  # fmt: skip
"""One round: model, whether streamed, whose key."""


def document(upstream: str, engine: str, collector: str, database: str) -> Json:
    """Two workers, several models and tenants, a candidate, an engine whose metrics are read."""
    vllm = {"provider": "vllm", "health": "/health", "metrics": "/metrics"}
    deployments = [
        deployment("llama-v1", engine, "answer-12+pace-2ms+cached-3", **vllm),
        deployment("llama-v2", engine, "answer-16+pace-2ms@v2", **vllm),
        deployment("slow", upstream, "answer-8+ttft-300ms"),
        deployment("broken", upstream, "fail-500"),
        deployment("breaking", upstream, "dies-after-2"),
        deployment("busy", upstream, "fail-503+retry-after-0"),
    ]
    models: list[Json] = [
        {"name": "chat", "stable": "llama-v1", "candidate": "llama-v2", "weight": 50},
        {"name": "slow", "stable": "slow"},
        {"name": "saved", "stable": "broken", "fallbacks": ["llama-v1"]},
        {"name": "fails", "stable": "broken"},
        {"name": "breaks", "stable": "breaking"},
        {"name": "busy", "stable": "busy"},
    ]
    sections: Json = {
        "server": {"workers": 2},
        "stores": {"database": database},
        "telemetry": {"otlp_endpoint": collector, "trace_sample": 0.5},
    }
    found = config(deployments, models, **sections)
    del found["tenants"][0]["keys"][1]  # it may use a model that is not here
    keys = [{"name": "other", "secret": "env:TEST_OTHER_KEY"}]
    found["tenants"].append({"name": "other-team", "keys": keys})
    return found


class Load:
    """Sends rounds and counts what callers were told."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._keys = {"main": "sk-test-caller", "other": OTHER_KEY, "stranger": "sk-nobody"}
        self.statuses: Counter[int] = Counter()
        self.served: Counter[str] = Counter()
        """Whole answers by deployment, as the response's header names it."""
        self.output_tokens = 0

    def run(self, seconds: float) -> None:
        """Rounds for so long, three requests at a time."""
        end = time.monotonic() + seconds
        with ThreadPoolExecutor(3) as callers:
            while time.monotonic() < end:
                list(callers.map(self._ask, ASKED))
                time.sleep(0.2)

    def _ask(self, one: tuple[str, bool, str]) -> None:
        model, stream, who = one
        body: Json = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello there"}]}
        if stream:
            body["stream_options"] = {"include_usage": True}
        headers = {"authorization": f"Bearer {self._keys[who]}", "content-type": "application/json"}
        url = f"{self._gateway.url}/v1/chat/completions"
        answer = httpx2.post(url, content=orjson.dumps(body), headers=headers, timeout=60, **PLAIN)
        self.statuses[answer.status_code] += 1
        if answer.status_code == 200 and b'"error"' not in answer.content:
            self.served[answer.headers["x-sluicegate-deployment"]] += 1
            self.output_tokens += usage(answer.content, stream=stream)["completion_tokens"]

    @property
    def total(self) -> int:
        """Requests sent."""
        return sum(self.statuses.values())


def usage(body: bytes, *, stream: bool) -> Json:
    """What an answer says about its tokens."""
    if not stream:
        found: Json = orjson.loads(body)["usage"]
        return found
    events = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data: {")]
    return next(doc["usage"] for event in reversed(events) if (doc := orjson.loads(event)).get("usage"))
