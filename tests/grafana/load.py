"""Mixed load for the dashboards: what is asked of a gateway with everything on, and what was counted meanwhile."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx2
import orjson

from tests.support.gateway import PLAIN, Gateway, config, deployment

OTHER_KEY, POOR_KEY = "sk-test-other", "sk-test-poor"
KEYS = {"main": "sk-test-caller", "other": OTHER_KEY, "poor": POOR_KEY, "stranger": "sk-nobody"}
FRUIT = "forbidden fruit"
"""What the guards' blocklists name."""
Json = dict[str, Any]


class Ask(NamedTuple):
    """One request: model, whether streamed, whose key, what is said."""

    model: str
    stream: bool = False
    who: str = "main"
    text: str = "hello there"


ASKED = (
    Ask("chat", stream=True), Ask("chat", stream=True, who="other"), Ask("chat"), Ask("chat", stream=True),
    Ask("slow", stream=True), Ask("saved", who="other"), Ask("fails"), Ask("fails", stream=True, who="other"),
    Ask("breaks", stream=True), Ask("busy"), Ask("nobody"), Ask("chat", who="stranger"), Ask("chat", who="poor"),
    Ask("asks", text=f"a {FRUIT}"), Ask("asks", stream=True, text="write to ada@example.com, please"),
    Ask("says", stream=True, text=f"one {FRUIT} two"), Ask("says", who="other", text=f"a {FRUIT}"), Ask("greedy"),
    Ask("says", stream=True, text="a forbidden idea"), Ask("narrow", text="so many words " * 200),
)  # fmt: skip
"""One round. `asks` has a guard at its prompts, `says` at its completions, which repeat the prompt."""
MODERATED = ("a kind word", f"the {FRUIT}")
"""Beside each round: texts to judge, and a score for the first answer."""


def document(upstream: str, engine: str, **where: str) -> Json:
    """Two workers with everything on: models, tenants, budgets, guards, a rollout, a shadow, an engine with metrics.

    `where` names the collector, the database and the limit store.
    """
    vllm = {"provider": "vllm", "health": "/health", "metrics": "/metrics"}
    deployments = [
        deployment("llama-v1", engine, "answer-12+pace-2ms+cached-3", **vllm),
        deployment("llama-v2", engine, "answer-16+pace-2ms@v2", **vllm),
        deployment("mirror", upstream, "flaky-3-500+refusal"),
        deployment("slow", upstream, "answer-8+ttft-300ms"),
        deployment("broken", upstream, "fail-500"),
        deployment("breaking", upstream, "dies-after-2"),
        deployment("busy", upstream, "fail-503+retry-after-0"),
        deployment("echo", upstream, "echo+pace-5ms"),
        deployment("narrow", upstream, "echo@narrow")
        | {"context_window": 256, "max_output_tokens": 64, "tokenizer": "gpt2"},
        deployment("greedy", upstream, "answer-8+absurd-usage-400"),
    ]
    sections: Json = {
        "server": {"workers": 2},
        "stores": {"database": where["database"], "limits": where["limits"]},
        "telemetry": {"otlp_endpoint": where["collector"], "trace_sample": 0.5},
        "guards": _guards(),
        "budgets": [{"window": "month", "usd": 50}],
    }
    found = config(deployments, _models(), **sections)
    team = found["tenants"][0]
    del team["keys"][1]  # it may use a model that is not here
    team["budgets"] = [{"window": "day", "tokens": 10_000_000}, {"window": "total", "usd": 20}]
    team["keys"][0]["budgets"] = [{"window": "hour", "tokens": 5_000_000}]
    found["tenants"] += [
        {"name": "other-team", "keys": [{"name": "other", "secret": "env:TEST_OTHER_KEY"}]},
        {
            "name": "poor-team",
            "keys": [{"name": "poor", "secret": "env:TEST_POOR_KEY"}],
            "budgets": [{"window": "day", "tokens": 250}],
        },
    ]
    return found


def _models() -> list[Json]:
    rollout = {"steps": [{"weight": 50, "hold": "1h"}, 100], "gates": {"error": {}, "slow_first_token": {"seconds": 5}}}
    shadow = {"to": "mirror", "sample": 0.5, "max_concurrent": 8, "budget": {"window": "day", "usd": 5}}
    chat: Json = {"name": "chat", "stable": "llama-v1", "candidate": "llama-v2", "weight": 0, "sticky": "none"}
    return [
        {**chat, "rollout": rollout, "shadow": shadow, "budgets": [{"window": "day", "tokens": 10_000_000}]},
        {"name": "slow", "stable": "slow"},
        {"name": "saved", "stable": "broken", "fallbacks": ["llama-v1"]},
        {"name": "fails", "stable": "broken"},
        {"name": "breaks", "stable": "breaking"},
        {"name": "busy", "stable": "busy"},
        {"name": "asks", "stable": "echo", "guard": "default"},
        {"name": "says", "stable": "echo", "guard": "answers"},
        {"name": "greedy", "stable": "greedy"},
        {"name": "narrow", "stable": "narrow"},
    ]


def _guards() -> list[Json]:
    look = {"detectors": ["rules", "pii"], "actions": {"blocklist": "block", "pii": "redact"}}
    return [
        {"name": "default", "blocklist": [FRUIT], "prompt": look},
        {"name": "answers", "blocklist": [FRUIT], "completion": look},
    ]


class Load:
    """Sends rounds and counts what callers were told."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.outcomes: Counter[str] = Counter()
        """Answers by the outcome that they mean, as far as an answer tells: see `meant`."""
        self.served: Counter[str] = Counter()
        """Whole answers by deployment, as the response's header names it."""
        self.scores = 0

    def run(self, seconds: float) -> None:
        """Rounds for so long, three requests at a time."""
        end = time.monotonic() + seconds
        with ThreadPoolExecutor(3) as callers:
            while time.monotonic() < end:
                answers = list(callers.map(self._ask, ASKED))
                self.outcomes["ok"] += 1
                self._post("/v1/moderations", "main", {"input": list(MODERATED)}).raise_for_status()
                said = {"request_id": answers[0].headers["x-request-id"], "score": 0.8}
                self._post("/v1/feedback", "main", said).raise_for_status()
                self.scores += 1
                time.sleep(0.2)

    def _ask(self, one: Ask) -> httpx2.Response:
        body: Json = {"model": one.model, "stream": one.stream, "messages": [{"role": "user", "content": one.text}]}
        body["max_tokens"] = 64
        if one.stream:
            body["stream_options"] = {"include_usage": True}
        answer = self._post("/v1/chat/completions", one.who, body)
        outcome = meant(answer)
        self.outcomes[outcome] += 1
        if outcome == "ok":
            self.served[answer.headers["x-sluicegate-deployment"]] += 1
        return answer

    def _post(self, path: str, who: str, body: Json) -> httpx2.Response:
        headers = {"authorization": f"Bearer {KEYS[who]}", "content-type": "application/json"}
        url = f"{self._gateway.url}{path}"
        return httpx2.post(url, content=orjson.dumps(body), headers=headers, timeout=60, **PLAIN)

    @property
    def total(self) -> int:
        """Requests sent to the data plane."""
        return self.outcomes.total()


def meant(answer: httpx2.Response) -> str:
    """The outcome that an answer means to its caller; an upstream's failure is `upstream_error`, whatever its kind."""
    if answer.status_code == 200:
        if b'"error"' in answer.content:
            return "upstream_error"
        return "cut_guard" if b'"finish_reason":"content_filter"' in answer.content else "ok"
    told = answer.json()["error"]
    by_code = {
        "content_filter": "refused_guard",
        "budget_exceeded": "refused_budget",
        "context_length_exceeded": "refused_invalid",
    }
    if told["code"] == "overloaded" and told["message"] != "The upstream is overloaded.":
        return "overloaded"
    by_status = {401: "refused_auth", 404: "refused_invalid"}
    return by_code.get(told["code"]) or by_status.get(answer.status_code) or "upstream_error"
