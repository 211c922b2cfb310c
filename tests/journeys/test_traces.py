"""What guards, shadows, budgets and captured content add to a trace, at a real OTLP receiver."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import orjson
import pytest

from app.semconv import SPAN_ATTRIBUTES
from tests.support.gateway import Gateway, config, deployment
from tests.support.otlp import Receiver
from tests.support.upstream import Upstream

Json = dict[str, Any]
TERM, MAIL = "forbidden fruit", "ada@example.com"


def document(upstream: str, collector: str, *, capture: bool) -> Json:
    """Models with a guard at prompts and answers, at answers, and with a shadow; a tenant with a budget."""
    look = {"detectors": ["rules", "pii"], "actions": {"blocklist": "block", "pii": "redact"}}
    guards = [
        {"name": "both", "blocklist": [TERM], "prompt": look, "completion": look},
        {"name": "answers", "blocklist": [TERM], "completion": look},
    ]
    shadow = {"to": "other", "sample": 1, "max_concurrent": 8, "budget": {"window": "total", "usd": 5}}
    deployments = [deployment("main", upstream, "echo"), deployment("other", upstream, "refusal@other")]
    models: list[Json] = [
        {"name": "echo", "stable": "main"},
        {"name": "guarded", "stable": "main", "guard": "both"},
        {"name": "watched", "stable": "main", "guard": "answers"},
        {"name": "copied", "stable": "main", "shadow": shadow},
    ]
    telemetry = {"otlp_endpoint": collector, "trace_sample": 1.0, "capture_content": capture}
    made = config(deployments, models, guards=guards, telemetry=telemetry)
    made["tenants"][0]["budgets"] = [{"window": "total", "tokens": 1_000_000}]
    return made


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A collector."""
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module", params=[False, True], ids=["without content", "with content"])
def gateway(request: pytest.FixtureRequest, upstream_process: Upstream, receiver: Receiver) -> Iterator[Gateway]:
    """One that traces everything, without what is said and with it: the trees are the same."""
    with Gateway(document(upstream_process.url, receiver.url, capture=request.param)) as running:
        running.until(lambda: running.ops("/readyz").json()["checks"]["ledger"] == "ok", seconds=60)
        yield running


def tree(response: httpx2.Response, receiver: Receiver, count: int) -> dict[str, Json]:
    """The spans of a trace by their names, each once; every parent is among them."""
    spans = receiver.trace(response.headers["x-request-id"].removeprefix("req_"), spans=count)
    found = {span["name"]: span for span in spans}
    assert len(found) == len({span["id"] for span in spans}) == count
    assert {span["parent"] for span in spans} <= {span["id"] for span in spans} | {""}
    assert {name for span in spans for name in span["attributes"]} <= set(SPAN_ATTRIBUTES)
    return found


def test_a_guard_s_looks_have_spans(gateway: Gateway, receiver: Receiver) -> None:
    """One for the prompt, one for the answer, under the request; what was found by kind, never by text."""
    spans = tree(gateway.chat("guarded", text=f"write to {MAIL}"), receiver, 4)
    server, prompt, answer = spans["POST /v1/chat/completions"], spans["guard prompt"], spans["guard completion"]
    assert {prompt["parent"], answer["parent"], spans["chat echo"]["parent"]} == {server["id"]}
    assert prompt["attributes"] == {
        "sluicegate.guard": "both", "sluicegate.guard.stage": "prompt", "sluicegate.guard.verdict": "redacted",
        "sluicegate.guard.hits": ["pii 6 redact pii"],
    }  # fmt: skip
    assert answer["attributes"]["sluicegate.guard.verdict"] in {"passed", "redacted"}
    assert prompt["ended"] <= spans["chat echo"]["began"] <= answer["began"]
    assert server["attributes"]["sluicegate.guard"] == "both"


def test_a_refused_prompt_has_no_other_span(gateway: Gateway, receiver: Receiver) -> None:
    """Nobody was called."""
    spans = tree(gateway.chat("guarded", text=f"a {TERM}"), receiver, 2)
    assert spans["guard prompt"]["attributes"]["sluicegate.guard.verdict"] == "refused"
    assert spans["guard prompt"]["attributes"]["sluicegate.guard.hits"] == ["blocklist 6 block rules"]


def test_an_answer_that_is_cut(gateway: Gateway, receiver: Receiver) -> None:
    """A guard that looks at no prompts has no span for them."""
    spans = tree(gateway.chat("watched", text=f"one {TERM} two", stream=True), receiver, 3)
    assert spans["guard completion"]["attributes"]["sluicegate.guard.verdict"] == "cut"
    assert spans["POST /v1/chat/completions"]["attributes"]["sluicegate.outcome"] == "cut_guard"


def test_a_copy_goes_on_in_the_trace(gateway: Gateway, receiver: Receiver, upstream_process: Upstream) -> None:
    """The shadow's span under the request's, its attempt and the comparison under that; the upstream continues it."""
    response = gateway.chat("copied", text="one two three")
    spans = tree(response, receiver, 5)
    server, copy = spans["POST /v1/chat/completions"], spans["shadow chat"]
    assert server["attributes"]["sluicegate.shadow.copied"] is True
    assert copy["parent"] == server["id"]
    attempt, evaluation = spans["chat refusal@other"], spans["evaluate shadow"]
    assert attempt["parent"] == evaluation["parent"] == copy["id"]
    assert copy["attributes"]["sluicegate.arm"] == attempt["attributes"]["sluicegate.arm"] == "shadow"
    assert copy["began"] >= server["ended"]
    assert evaluation["attributes"]["gen_ai.evaluation.name"] == "similarity"
    assert evaluation["attributes"]["gen_ai.evaluation.score.value"] == 1  # the same words, as a refusal
    assert evaluation["attributes"]["sluicegate.shadow.differs"] == ["refusal"]
    sent = [dict(one["headers"]).get("traceparent", "") for one in upstream_process.requests()]
    assert {f"00-{server['trace']}-{spans[name]['id']}-01" for name in ("chat echo", "chat refusal@other")} <= set(sent)


def test_budgets_are_told(gateway: Gateway, receiver: Receiver) -> None:
    """What was held, and what was charged of it."""
    told = tree(gateway.chat("echo", max_tokens=50), receiver, 2)["POST /v1/chat/completions"]["attributes"]
    assert told["sluicegate.reserved_tokens"] >= 50 > told["sluicegate.charged_tokens"] > 0


def test_content_is_there_only_where_asked_for_and_redacted(
    gateway: Gateway, receiver: Receiver, request: pytest.FixtureRequest
) -> None:
    """On the attempt's span, in OpenTelemetry's form; personal data and listed terms are nowhere."""
    captures = "with content" in request.node.callspec.id.replace("without content", "")
    response = gateway.chat("echo", text=f"quicksilver for {MAIL}, a {TERM}", stream=True)
    told = tree(response, receiver, 2)["chat echo"]["attributes"]
    if not captures:
        assert "gen_ai.input.messages" not in told
        assert "quicksilver" not in str(receiver.held())
        return
    text = "quicksilver for [REDACTED], a [REDACTED]"
    part = {"type": "text", "content": text}
    assert orjson.loads(told["gen_ai.input.messages"]) == [{"role": "user", "parts": [part]}]
    (answer,) = orjson.loads(told["gen_ai.output.messages"])
    assert (answer["role"], answer["finish_reason"], answer["parts"]) == ("assistant", "stop", [part])
    assert MAIL not in str(receiver.held())
    assert TERM not in str(receiver.held())
