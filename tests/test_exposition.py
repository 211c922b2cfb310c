"""What `/metrics` writes is what Prometheus' own parser reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from app.cells import Cells, Series
from app.exposition import OPENMETRICS, TEXT, merge, negotiate, render
from app.telemetry import (
    COST,
    ENGINE_KV_CACHE,
    FIRST_TOKEN,
    IN_FLIGHT,
    METRICS,
    OVERHEAD,
    REQUESTS,
    TASKS,
    UNKNOWN,
    Kind,
    Telemetry,
)

Found = Sequence[tuple[Series, tuple[float, ...]]]
LABELS = st.tuples(*[st.text(max_size=12)] * len(REQUESTS.labels))
NUMBERS = st.floats(min_value=0, max_value=1e300) | st.integers(0, 2**53).map(float)


def samples(found: Found) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample, as Prometheus' parser reads it."""
    families = text_string_to_metric_families("".join(render(found)))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_metric_is_told_of_even_without_samples() -> None:
    """Its kind and what it means."""
    families = {family.name: family for family in text_string_to_metric_families("".join(render([])))}
    for metric in METRICS:
        family = families[metric.name.removesuffix("_total") if metric.kind is Kind.COUNTER else metric.name]
        assert (family.type, family.documentation, family.samples) == (metric.kind, metric.told, [])
    assert len(families) == len(METRICS)


@settings(max_examples=40)
@given(st.dictionaries(LABELS, NUMBERS, max_size=5))
def test_any_label_and_value_comes_through(held: dict[tuple[str, ...], float]) -> None:
    """Quotes, line breaks, backslashes, other scripts; large and small numbers exactly."""
    found = [(Series(REQUESTS.name, labels, 0, 1), (value,)) for labels, value in held.items()]
    expected = {
        (REQUESTS.name, frozenset(zip(REQUESTS.labels, labels, strict=True))): value for labels, value in held.items()
    }
    assert samples(found) == expected


def test_a_histogram_is_cumulative() -> None:
    """Buckets add up to the count, `+Inf` is the last, the sum is the sum."""
    counts = [float(number) for number in range(len(OVERHEAD.buckets) + 1)]
    read = samples([(Series(OVERHEAD.name, ("route",), 0, len(counts) + 1), (*counts, 12.5))])
    stage = ("stage", "route")
    edges = [*(str(bound) for bound in OVERHEAD.buckets), "+Inf"]
    for place, edge in enumerate(edges):
        assert read[f"{OVERHEAD.name}_bucket", frozenset({stage, ("le", edge)})] == sum(counts[: place + 1])
    assert read[f"{OVERHEAD.name}_sum", frozenset({stage})] == 12.5
    assert read[f"{OVERHEAD.name}_count", frozenset({stage})] == sum(counts)
    assert len(read) == len(edges) + 2


def test_processes_add_up() -> None:
    """Counters, gauges and histograms, label by label; what one process alone has stays."""
    size = len(OVERHEAD.buckets) + 2
    one: Found = [
        (Series(COST.name, ("m", "d", "stable", "t"), 0, 1), (0.25,)),
        (Series(IN_FLIGHT.name, ("d",), 1, 1), (3.0,)),
        (Series(OVERHEAD.name, ("call",), 2, size), (1.0,) * size),
    ]
    other: Found = [
        (Series(OVERHEAD.name, ("call",), 0, size), (2.0,) * size),
        (Series(COST.name, ("m", "d", "stable", "t"), 99, 1), (0.5,)),
        (Series(COST.name, ("m", "d", "stable", "u"), 100, 1), (1.0,)),
    ]
    assert merge([*one, *other]) == {
        COST.name: {("m", "d", "stable", "t"): [0.75], ("m", "d", "stable", "u"): [1.0]},
        IN_FLIGHT.name: {("d",): [3.0]},
        OVERHEAD.name: {("call",): [3.0] * size},
    }


def test_a_metric_without_labels_has_no_braces() -> None:
    """As the format's own examples write it."""
    assert f"\n{TASKS.name} 7\n" in "".join(render([(Series(TASKS.name, (), 0, 1), (7.0,))]))


def test_it_comes_in_pieces() -> None:
    """One per series, and one turn per series before, while values are put together."""
    found = [(Series(REQUESTS.name, (str(number), "", "", "", ""), number, 1), (1.0,)) for number in range(100)]
    assert len(list(render(found))) == len(METRICS) + 200


def test_what_every_worker_saw_alike_is_not_added_up() -> None:
    """The highest counts; one that is unknown to some is what the others know; known to nobody, it is left out."""

    def kv_cache(*values: float) -> list[float]:
        found = [(Series(ENGINE_KV_CACHE.name, ("d", "0"), 0, 1), (value,)) for value in values]
        return [value for (name, _), value in samples(found).items() if name == ENGINE_KV_CACHE.name]

    assert kv_cache(0.25, 0.75, 0.5) == [0.75]
    assert kv_cache(UNKNOWN, 0.5, UNKNOWN) == [0.5]
    assert kv_cache(UNKNOWN, UNKNOWN) == []


PROMETHEUS = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*;q=0.1"
ACCEPTS = {
    "": TEXT,
    "*/*": TEXT,
    "text/plain;version=0.0.4": TEXT,
    PROMETHEUS: OPENMETRICS,
    "text/plain;q=0.5, application/OpenMetrics-Text; version=1.0.0": OPENMETRICS,
    "application/openmetrics-text;q=0, text/plain": TEXT,
}


def test_who_asks_for_openmetrics_gets_it() -> None:
    """As Prometheus does; browsers and curl get plain text."""
    assert {accept: negotiate(accept) for accept in ACCEPTS} == ACCEPTS


def traced(cells: Cells, seconds: float, trace_id: str) -> None:
    """A traced request that took so long to its first token."""
    telemetry = Telemetry(cells)
    telemetry.histogram(FIRST_TOKEN, "chat", "one", "stable").observe(seconds)
    telemetry.exemplify(FIRST_TOKEN, ("chat", "one", "stable"), seconds, trace_id)


def openmetrics_families(text: str) -> list[Any]:
    """What OpenMetrics' own parser reads."""
    return list(openmetrics.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]  # it has no types


def test_exemplars_lead_from_a_bucket_to_a_trace() -> None:
    """In OpenMetrics only, at the bucket in which the request was counted, with its value and all of the trace's id."""
    cells = Cells()
    ids = {0.003: "f" * 32, 0.3: "0af7651916cd43dd8448eb211c80319c", 500.0: "0" * 31 + "1"}
    for seconds, trace_id in ids.items():
        traced(cells, seconds, trace_id)
    text = "".join(render(cells.read(), OPENMETRICS))
    families = {family.name: family for family in openmetrics_families(text)}
    found = {
        float(sample.labels["le"]): (sample.exemplar.value, sample.exemplar.labels["trace_id"])
        for sample in families[FIRST_TOKEN.name].samples
        if sample.exemplar
    }
    assert found == {0.005: (0.003, ids[0.003]), 0.5: (0.3, ids[0.3]), float("inf"): (500.0, ids[500.0])}
    assert "trace_id" not in "".join(render(cells.read()))


def test_the_newest_exemplar_of_all_workers_is_shown() -> None:
    """Per bucket."""
    one, other = Cells(), Cells()
    traced(one, 0.3, "a" * 32)
    traced(other, 0.3, "b" * 32)
    traced(one, 0.003, "c" * 32)
    text = "".join(render([*other.read(), *one.read()], OPENMETRICS))
    assert "b" * 32 in text
    assert "c" * 32 in text
    assert "a" * 32 not in text


def test_openmetrics_holds_the_same_values() -> None:
    """Its own parser reads it, and finds the samples that the text format has."""
    cells = Cells()
    traced(cells, 0.25, "a" * 32)
    telemetry = Telemetry(cells)
    telemetry.counter(COST, "m", 'd"\\\n', "stable", "t").inc(0.5)
    telemetry.gauge(TASKS).set(3)
    families = openmetrics_families("".join(render(cells.read(), OPENMETRICS)))
    held = {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}
    assert held == samples(cells.read())
    assert len(families) == len(METRICS)
