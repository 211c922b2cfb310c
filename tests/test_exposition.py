"""What `/metrics` writes is what Prometheus' own parser reads."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from app.cells import Series
from app.exposition import merge, render
from app.telemetry import COST, IN_FLIGHT, METRICS, OVERHEAD, REQUESTS, TASKS, Kind

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
        assert (family.type, family.documentation, family.samples) == (metric.kind, metric.help, [])
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
    """One per series, so that the event loop gets its turn in between."""
    found = [(Series(REQUESTS.name, (str(number), "", "", "", ""), number, 1), (1.0,)) for number in range(100)]
    assert len(list(render(found))) == len(METRICS) + 100
