"""Prometheus' text formats of any number of processes' cells, written in small pieces.

A scrape is produced piece by piece so that the event loop gets its turn between pieces: 2 700 series through
prometheus_client hold it for 31-39 ms. Sources of the formats: prometheus.io/docs/instrumenting/exposition_formats
(0.0.4) and the OpenMetrics specification (1.0.0), which alone has exemplars; Prometheus asks for it by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from app.cells import Series
from app.telemetry import EXEMPLAR_SIZE, EXEMPLARS, METRICS, Kind, Merge, Metric, trace_id_of

Found = Iterable[tuple[Series, tuple[float, ...]]]
Merged = dict[str, dict[tuple[str, ...], list[float]]]
_MERGED_BY_MAX = frozenset(metric.name for metric in METRICS if metric.merge is Merge.MAX)


class Format(NamedTuple):
    """A text format."""

    content_type: str
    openmetrics: bool


TEXT = Format("text/plain; version=0.0.4; charset=utf-8", openmetrics=False)
OPENMETRICS = Format("application/openmetrics-text; version=1.0.0; charset=utf-8", openmetrics=True)


def negotiate(accept: str) -> Format:
    """The format that a scraper asks for in its `accept` header; plain text for whoever does not name OpenMetrics."""
    for offer in accept.lower().split(","):
        kind, _, rest = offer.partition(";")
        if kind.strip() == "application/openmetrics-text" and "q=0" not in rest.replace(" ", "").split(";"):
            return OPENMETRICS
    return TEXT


def merge(found: Found) -> Merged:
    """Values per metric and labels, over all processes: added up, or the highest where all of them saw the same."""
    merged: Merged = {}
    for series, values in found:
        _add(merged, series, values)
    return merged


def _add(merged: Merged, series: Series, values: tuple[float, ...]) -> None:
    by_labels = merged.setdefault(series.metric, {})
    held = by_labels.get(series.labels)
    if held is None:
        by_labels[series.labels] = list(values)
    elif series.metric.endswith(EXEMPLARS):
        for start in range(0, len(held), EXEMPLAR_SIZE):
            end = start + EXEMPLAR_SIZE
            if values[end - 1] > held[end - 1]:
                held[start:end] = values[start:end]
    else:
        join = _highest if series.metric in _MERGED_BY_MAX else float.__add__
        by_labels[series.labels] = [join(a, b) for a, b in zip(held, values, strict=True)]


def _highest(one: float, other: float) -> float:
    """The higher of two values, of which either may be unknown (NaN)."""
    return other if one != one or other > one else one  # noqa: PLR0124 - NaN alone differs from itself


def render(found: Found, form: Format = TEXT) -> Iterator[str]:
    """The exposition, one piece per series; empty pieces while values are still being put together."""
    merged: Merged = {}
    for series, values in found:
        _add(merged, series, values)
        yield ""
    for metric in METRICS:
        name = metric.name.removesuffix("_total") if form.openmetrics and metric.kind is Kind.COUNTER else metric.name
        yield f"# HELP {name} {_text(metric.told) if form.openmetrics else metric.told}\n# TYPE {name} {metric.kind}\n"
        examples = merged.get(metric.name + EXEMPLARS, {}) if form.openmetrics else {}
        for labels, slots in merged.get(metric.name, {}).items():
            if slots[0] != slots[0]:
                continue
            yield (
                _histogram(metric, labels, slots, examples.get(labels))
                if metric.kind is Kind.HISTOGRAM
                else _line(metric.name, _pairs(metric, labels), slots[0])
            )
    if form.openmetrics:
        yield "# EOF\n"


def _pairs(metric: Metric, labels: tuple[str, ...]) -> str:
    return ",".join(f'{name}="{_text(value)}"' for name, value in zip(metric.labels, labels, strict=True))


def _text(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _line(name: str, pairs: str, value: float, example: str = "") -> str:
    return f"{name}{{{pairs}}} {_number(value)}{example}\n" if pairs else f"{name} {_number(value)}{example}\n"


def _histogram(metric: Metric, labels: tuple[str, ...], values: list[float], examples: list[float] | None) -> str:
    pairs = _pairs(metric, labels)
    comma = "," if pairs else ""
    lines = []
    total = 0.0
    for place, (bound, count) in enumerate(zip((*metric.buckets, float("inf")), values, strict=False)):
        total += count
        edge = "+Inf" if bound == float("inf") else repr(float(bound))
        example = _example(examples, place) if examples is not None else ""
        lines.append(_line(f"{metric.name}_bucket", f'{pairs}{comma}le="{edge}"', total, example))
    lines.append(_line(f"{metric.name}_sum", pairs, values[-1]))
    lines.append(_line(f"{metric.name}_count", pairs, total))
    return "".join(lines)


def _example(examples: list[float], place: int) -> str:
    """A bucket's exemplar; nothing where there is none yet."""
    slots = examples[place * EXEMPLAR_SIZE : (place + 1) * EXEMPLAR_SIZE]
    if not slots[-1]:
        return ""
    return f' # {{trace_id="{trace_id_of(slots)}"}} {_number(slots[0])} {slots[-1]:.3f}'
