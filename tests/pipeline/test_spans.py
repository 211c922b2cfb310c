"""Which traces are kept, and the spans that reach a real OTLP receiver: the right tree through every kind of ending."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import orjson
import pytest

from app.errors import Outcome
from app.exchange import Arm, Operation, Principal, Usage
from app.otlp import Span
from app.pipeline.progress import Progress
from app.pipeline.spans import MOST_KEPT, Tracer
from app.semconv import SPAN_ATTRIBUTES
from app.telemetry import DROPPED
from tests.pipeline.parts import Counted, call, deployment
from tests.support.gateway import KEY, PLAIN, Gateway, config
from tests.support.gateway import deployment as configured
from tests.support.otlp import Receiver
from tests.support.upstream import Upstream

Json = dict[str, Any]
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}"
SECRET_WORD = "quicksilver"


class Sink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.taken: list[list[Span]] = []

    def submit(self, spans: list[Span]) -> None:
        """Keep them."""
        self.taken.append(spans)


class Scene:
    """A tracer and the requests that it is told about."""

    def __init__(self, share: float = 0.0) -> None:
        self.telemetry, self.sink = Counted(), Sink()
        self.tracer = Tracer(self.sink, share, 10.0, self.telemetry.counter(DROPPED, "spans"))

    def end(self, outcome: Outcome = Outcome.OK, **facts: Any) -> bool:
        """A request has ended; whether its trace is kept."""
        progress = Progress("req_" + "7" * 32, Operation.CHAT)
        progress.trace = self.tracer.begin(progress.request_id, "/v1/chat/completions", [])
        progress.principal, progress.call = Principal("team", "ci"), call()
        progress.deployment, progress.arm, progress.usage = deployment("one"), Arm.STABLE, Usage(1, 2)
        progress.outcome = outcome
        for name, value in facts.items():
            setattr(progress, name, value)
        return self.tracer.ended(progress, 0.001)


KEPT = {"client_closed", "cut_guard", "upstream_rejected", "upstream_error", "upstream_timeout", "internal_error"}


@pytest.mark.parametrize("outcome", Outcome)
def test_what_went_wrong_is_kept_though_not_sampled(outcome: Outcome) -> None:
    """Errors and what was cut; not what was refused, of which strangers can make any amount."""
    scene = Scene()
    assert scene.end(outcome) is (outcome in KEPT)
    assert len(scene.sink.taken) == (outcome in KEPT)


def test_what_was_slow_is_kept() -> None:
    """By the first byte of a stream, by the end of any other answer."""
    scene = Scene()
    assert not scene.end()
    assert scene.end(began=time.perf_counter() - 11)
    assert not scene.end(began=time.perf_counter() - 30, first_at=time.perf_counter() - 25)
    assert scene.end(began=time.perf_counter() - 30, first_at=time.perf_counter() - 15)


def test_all_is_kept_when_all_is_sampled() -> None:
    """Refusals too: the operator asked for it."""
    scene = Scene(share=1.0)
    assert all(scene.end(outcome) for outcome in Outcome)


def test_an_outage_costs_a_bounded_number_of_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many a second; the rest is counted. What was sampled is not bounded here."""
    monkeypatch.setattr(time, "perf_counter", lambda: 1000.25)
    scene = Scene()
    assert [scene.end(Outcome.UPSTREAM_ERROR) for _ in range(MOST_KEPT + 5)] == [True] * MOST_KEPT + [False] * 5
    assert scene.telemetry.total(DROPPED) == 5
    monkeypatch.setattr(time, "perf_counter", lambda: 1001.5)
    assert scene.end(Outcome.UPSTREAM_ERROR)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A collector."""
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def traced(upstream_process: Upstream, receiver: Receiver) -> Iterator[Gateway]:
    """Two workers that trace everything."""
    url = upstream_process.url
    names = ["echo", "answer-6+pace-20ms+cached-2", "fail-500", "fail-first-1", "dies-after-2", "answer-500+pace-20ms"]
    deployments = [configured(f"to-{name}", url, name) for name in names]
    models: list[Json] = [{"name": name, "stable": f"to-{name}"} for name in names]
    models[0]["template"] = "words"
    models += [{"name": "saved", "stable": "to-fail-500", "fallbacks": ["to-echo"]}]
    sections = {
        "server": {"workers": 2},
        "templates": [{"name": "words", "version": 7, "tone": f"{SECRET_WORD} is not for spans."}],
        "telemetry": {
            "otlp_endpoint": receiver.url,
            "trace_sample": 1.0,
            "otlp_headers": {"x-collector-key": "env:TEST_KEY"},
        },
    }
    with Gateway(config(deployments, models, **sections)) as running:
        yield running


def spans_of(response: httpx2.Response, receiver: Receiver, count: int) -> list[Json]:
    """The spans of a request without a context of its own."""
    return receiver.trace(response.headers["x-request-id"].removeprefix("req_"), spans=count)


def assert_tree(spans: list[Json], parent: str = "") -> None:
    """One server span, under the caller's; every other span under it and within its time; each id once."""
    server, *rest = spans
    assert (server["kind"], server["parent"]) == (2, parent)
    assert len({span["id"] for span in spans}) == len(spans)
    assert all(span["kind"] == 3 and span["parent"] == server["id"] for span in rest)
    assert all(server["began"] <= span["began"] <= span["ended"] <= server["ended"] for span in rest)
    assert {name for span in spans for name in span["attributes"]} <= set(SPAN_ATTRIBUTES)


def test_an_answer(traced: Gateway, receiver: Receiver) -> None:
    """A server span and a client span with the conventions' names; usage stands once; no text anywhere."""
    response = traced.chat("echo", text=SECRET_WORD, temperature=0.5, seed=7, max_tokens=9, stop=[SECRET_WORD + "!"])
    spans = spans_of(response, receiver, 2)
    assert_tree(spans)
    server, client = spans
    assert (server["name"], client["name"]) == ("POST /v1/chat/completions", "chat echo")
    told = server["attributes"]
    assert told.items() >= {
        "sluicegate.outcome": "ok", "sluicegate.tenant": "team", "sluicegate.key": "main",
        "http.response.status_code": 200, "sluicegate.kept": "sampled", "sluicegate.count_method": "bound",
        "sluicegate.template": "words@7",
    }.items()  # fmt: skip
    assert not [name for name in told if name.startswith("gen_ai.")]
    asked = client["attributes"]
    assert asked.items() >= {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "echo",
        "gen_ai.request.stream": False, "gen_ai.request.temperature": 0.5, "gen_ai.request.seed": 7,
        "gen_ai.request.max_tokens": 9, "server.address": "127.0.0.1", "sluicegate.attempt": 1,
        "gen_ai.response.model": "echo", "gen_ai.response.finish_reasons": ["stop"],
    }.items()  # fmt: skip
    usage = response.json()["usage"]
    assert asked["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert asked["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    assert SECRET_WORD not in str(receiver.held())
    assert {span["resource"]["service.name"] for span in spans} == {"sluicegate"}


def test_a_stream(traced: Gateway, receiver: Receiver) -> None:
    """Still one client span, however many chunks; first chunk, finish reason and cached tokens are told."""
    spans = spans_of(traced.chat("answer-6+pace-20ms+cached-2", stream=True), receiver, 2)
    assert_tree(spans)
    told = spans[1]["attributes"]
    assert told["gen_ai.response.finish_reasons"] == ["stop"]
    assert (told["gen_ai.usage.output_tokens"], told["gen_ai.usage.cache_read.input_tokens"]) == (6, 2)
    assert 0 < told["gen_ai.response.time_to_first_chunk"] < spans[0]["attributes"]["sluicegate.time_to_first_token"]


def test_a_retry_and_a_fallback(traced: Gateway, receiver: Receiver, upstream_process: Upstream) -> None:
    """A span per attempt, each failure with its status; every upstream request carried the context of its own span."""
    for model, results in (("fail-first-1", ["503", None]), ("saved", ["500", None])):
        response = traced.chat(model)
        assert response.status_code == 200
        spans = spans_of(response, receiver, 3)
        assert_tree(spans)
        assert [span["attributes"].get("error.type") for span in spans[1:]] == results
        assert [span["status"] for span in spans] == [0, 2, 0]
        assert ["gen_ai.usage.input_tokens" in span["attributes"] for span in spans] == [False, False, True]
        sent = [dict(one["headers"]) for one in upstream_process.requests()]
        contexts = [headers["traceparent"] for headers in sent if spans[0]["trace"] in headers.get("traceparent", "")]
        assert contexts == [f"00-{spans[0]['trace']}-{span['id']}-01" for span in spans[1:]]


def test_a_stream_that_breaks(traced: Gateway, receiver: Receiver) -> None:
    """An error on both spans; what had been made is told."""
    spans = spans_of(traced.chat("dies-after-2", stream=True), receiver, 2)
    assert_tree(spans)
    assert [span["status"] for span in spans] == [2, 2]
    assert spans[0]["attributes"]["sluicegate.outcome"] == "upstream_error"
    assert spans[1]["attributes"]["gen_ai.usage.output_tokens"] >= 2


def test_a_caller_that_leaves(traced: Gateway, receiver: Receiver) -> None:
    """The tree is whole, and says that the caller left; nobody is to blame."""
    with httpx2.stream(
        "POST", f"{traced.url}/v1/chat/completions", **asking("answer-500+pace-20ms", stream=True)
    ) as open_:
        next(open_.iter_raw())
        trace = open_.headers["x-request-id"].removeprefix("req_")
    spans = receiver.trace(trace, spans=2)
    assert_tree(spans)
    assert spans[0]["attributes"]["sluicegate.outcome"] == "client_closed"
    assert spans[1]["attributes"]["error.type"] == "cut"
    assert [span["status"] for span in spans] == [0, 0]


def test_a_refusal_has_no_client_span(traced: Gateway, receiver: Receiver) -> None:
    """Nobody was called; strangers and unknown models are told apart."""
    for response, code in ((traced.chat(key="wrong"), "invalid_api_key"), (traced.chat("nobody"), "model_not_found")):
        (server,) = spans_of(response, receiver, 1)
        assert_tree([server])
        assert server["attributes"]["error.type"] == code


def test_the_caller_s_trace_goes_on(traced: Gateway, receiver: Receiver, upstream_process: Upstream) -> None:
    """Parent, state and decision are the caller's; the log line names the trace."""
    context = CALLER.format(flags="01")
    response = httpx2.post(
        f"{traced.url}/v1/chat/completions", **asking("echo", {"traceparent": context, "tracestate": "vendor=1"})
    )
    trace, parent = context.split("-")[1:3]
    spans = receiver.trace(trace, spans=2)
    assert_tree(spans, parent)
    line = traced.line(response)
    assert (line["trace_id"], line["span_id"]) == (trace, spans[0]["id"])
    headers = dict(upstream_process.requests()[-1]["headers"])
    assert headers["traceparent"] == f"00-{trace}-{spans[1]['id']}-01"
    assert headers["tracestate"] == "vendor=1"


def test_both_workers_export(traced: Gateway, receiver: Receiver) -> None:
    """Each under a name of its own; what they count is what came; the collector's header was sent."""
    for _ in range(40):
        traced.chat()

    def sent() -> int:
        return int(traced.value("sluicegate_spans_exported_total"))

    traced.until(lambda: sent() == len(receiver.held()["spans"]), seconds=20, what="spans are missing")
    held = receiver.held()
    assert len({span["resource"]["service.instance.id"] for span in held["spans"]}) == 2
    assert {(one["path"], one["headers"]["x-collector-key"]) for one in held["requests"]} == {("/v1/traces", KEY)}
    assert traced.value("sluicegate_dropped_total", what="spans") == 0


def test_histograms_lead_to_the_trace(traced: Gateway, receiver: Receiver) -> None:
    """Prometheus finds an exemplar at the request's buckets, and its trace has arrived."""
    trace = traced.chat("answer-6+pace-20ms+cached-2", stream=True).headers["x-request-id"].removeprefix("req_")
    receiver.trace(trace, spans=2)
    asked = {"accept": "application/openmetrics-text"}
    lines = httpx2.get(f"{traced.ops_url}/metrics", headers=asked, **PLAIN).text.splitlines()
    for metric in ("sluicegate_time_to_first_token", "sluicegate_request_duration", "gen_ai_client_operation_duration"):
        assert len([line for line in lines if trace in line and line.startswith(f"{metric}_seconds_bucket{{")]) == 1


def asking(model: str, headers: dict[str, str] | None = None, **fields: Any) -> Json:
    """The arguments of a POST."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
    given = {"authorization": f"Bearer {KEY}", "content-type": "application/json", **(headers or {})}
    return {"content": orjson.dumps(body), "headers": given, "timeout": 30, **PLAIN}
