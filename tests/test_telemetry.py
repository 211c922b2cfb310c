"""Declarations that Prometheus can use and dashboards can rely on; children that are made once; bounded labels."""

from __future__ import annotations

import re
import socket
from contextlib import closing
from itertools import pairwise

import orjson
import pytest

from app import telemetry
from app.cells import Cells
from app.logs import LOG_FIELDS
from app.telemetry import (
    COST,
    IN_FLIGHT,
    METRICS,
    OVERHEAD,
    REQUESTS,
    TASKS,
    Kind,
    Metric,
    Telemetry,
)
from tests.support.gateway import KEY, Gateway
from tests.support.sockets import Answers, connect

CONTRACT = {
    "gen_ai_client_token_usage", "gen_ai_client_operation_duration_seconds",
    "gen_ai_client_operation_time_to_first_chunk_seconds", "gen_ai_client_operation_time_per_output_chunk_seconds",
    "sluicegate_requests_total", "sluicegate_upstream_attempts_total", "sluicegate_time_to_first_token_seconds",
    "sluicegate_time_per_output_token_seconds", "sluicegate_cost_usd_total", "sluicegate_overhead_seconds",
    "sluicegate_in_flight", "sluicegate_dropped_total",
}  # fmt: skip


def test_every_declared_metric_is_in_the_list() -> None:
    """Once, under a name of its own; those of the contract are among them."""
    declared = [value for value in vars(telemetry).values() if isinstance(value, Metric)]
    assert sorted(map(id, METRICS)) == sorted(map(id, declared))
    names = {metric.name for metric in METRICS}
    assert len(names) == len(METRICS)
    assert names >= CONTRACT


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_declarations_are_prometheus_own(metric: Metric) -> None:
    """Names and labels are legal, counters end in `_total`, histograms have rising buckets, each says what it means."""
    assert re.fullmatch(r"(gen_ai|sluicegate)_[a-z_]+", metric.name)
    assert all(re.fullmatch(r"[a-z_]+", label) and label not in {"le", "quantile"} for label in metric.labels)
    assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER)
    assert bool(metric.buckets) is (metric.kind is Kind.HISTOGRAM)
    assert all(low < high for low, high in pairwise(metric.buckets))
    assert re.fullmatch(r"[^\n\\]+\.", metric.help)


def test_the_contracts_labels() -> None:
    """Dashboards group by them."""
    labels = {metric.name: metric.labels for metric in METRICS}
    assert labels["sluicegate_requests_total"] == ("model", "deployment", "arm", "tenant", "outcome")
    assert labels["sluicegate_cost_usd_total"] == ("model", "deployment", "arm", "tenant")
    assert labels["gen_ai_client_operation_duration_seconds"] == (
        "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "deployment", "arm", "error_type",
    )  # fmt: skip


def test_a_child_is_made_once() -> None:
    """Per metric and labels; each kind in its own way."""
    made = Telemetry(Cells())
    assert made.counter(REQUESTS, *"abcde") is made.counter(REQUESTS, *"abcde")
    assert made.gauge(IN_FLIGHT, "d") is made.gauge(IN_FLIGHT, "d")
    assert made.histogram(OVERHEAD, "s") is made.histogram(OVERHEAD, "s")
    made.counter(REQUESTS, *"abcde").inc()
    made.gauge(IN_FLIGHT, "d").set(5)
    made.histogram(OVERHEAD, "s").observe(0.3)
    held = {series.metric: sum(values) for series, values in made.cells.read()}
    assert held == {REQUESTS.name: 1, IN_FLIGHT.name: 5, OVERHEAD.name: 1.3}


def test_a_successor_counts_on_but_holds_nothing_yet() -> None:
    """Counters go on where the process before it stopped; what that one held in its gauges is gone."""
    cells = Cells()
    before = Telemetry(cells)
    before.counter(COST, *"abcd").inc(2)
    before.gauge(IN_FLIGHT, "d").inc(3)
    before.gauge(TASKS).set(9)
    after = Telemetry(cells)
    after.counter(COST, *"abcd").inc()
    after.gauge(IN_FLIGHT, "d").inc()
    assert {series.metric: values for series, values in cells.read()} == {
        COST.name: (3,), IN_FLIGHT.name: (1,), TASKS.name: (0,),
    }  # fmt: skip


def test_access_lines_have_exactly_the_declared_fields(tight: Gateway) -> None:
    """Every field that is declared stands in some line, and no line has another.

    Those of guards stand in lines of guarded requests: `tests/pipeline/test_record.py`; `fit` and `purpose` in lines
    of requests that are made to fit: `tests/journeys/test_long_conversations.py`; `template`: `test_templates.py`.
    """
    for model, stream in (("echo", True), ("echo", False), ("bad-json", False), ("nobody", False)):
        tight.line(tight.chat(model, stream=stream))
    tight.line(tight.chat(key="wrong"))
    body = b'{"model": "echo", "messages": [{"role": "user", "content": "hi"}]}'
    tight.line(tight.post("/v1/chat/completions", body, headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"}))
    lines = tight.lines()
    elsewhere = {one for one in LOG_FIELDS if one.startswith("guard")} | {"fit", "purpose", "template"}
    assert {field for line in lines for field in line} == LOG_FIELDS.keys() - elsewhere
    always = {"ts", "event", "request_id", "operation", "model", "outcome", "duration_ms", "overhead_ms", "attempts"}
    assert all(set(line) >= always for line in lines)


def test_invented_names_make_no_series(tight: Gateway) -> None:
    """Ten thousand models that nobody knows, as names, keys and paths, are one."""
    assert tight.chat("nobody").status_code == 404
    before = len(tight.metrics())
    with closing(connect(tight.url)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = Answers(connection)
        for batch in range(100):
            connection.sendall(b"".join(invented(f"model-{batch}-{number}") for number in range(100)))
            assert {answers.next().status for _ in range(100)} == {404}
    assert len(tight.metrics()) == before
    assert tight.value(REQUESTS.name, model="-", outcome="refused_invalid") >= 10_000
    assert "model-99-99" not in tight.ops("/metrics").text


def invented(model: str) -> bytes:
    """A request for a model that nobody knows."""
    body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": "x"}]})
    head = f"authorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    return f"POST /v1/chat/completions HTTP/1.1\r\nhost: {model}\r\n{head}".encode() + body
