"""The benchmark's result as a table for people (Markdown, so that it can be pasted into the docs)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.stats import paired_ratio, quartiles

BASE = "vllm-router"
"""What the others are set in relation to: a router in Rust that routes and does nothing else."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: its label, where it is found in a round, how it is printed, and whether its ratio is told.

    What is measured `once`, not in every round, is found in the result under this name, by gateway. A median of 0 is
    `zero`, where that is no figure.
    """

    label: str
    figure: str
    form: str = "{:.1f}"
    scale: float = 1.0
    ratio: bool = False
    added: bool = False
    once: bool = False
    zero: str | None = None

    def text(self, value: float) -> str:
        """A value of this figure."""
        return self.form.format(value * self.scale)


_MIB = 1 / 2**20
WAYS = (("latency", "whole"), ("first event", "first"), ("a piece's way", "chunk"), ("the last piece's way", "last"))
ROWS = (
    Row("CPU per small request, µs", "halting.request_us", ratio=True),
    Row("… awake", "polling.request_us", ratio=True),
    Row("CPU per streamed chunk, µs (all of the stream's CPU / 64)", "halting.chunk_us", ratio=True),
    Row("… awake", "polling.chunk_us", ratio=True),
    Row("… of that per chunk alone, halting, µs", "cpu_chunk_only_us"),
    Row("… and per stream, halting, µs", "cpu_stream_us", "{:.0f}"),
    Row("requests/s at full load", "per_second", "{:.0f}"),
    Row("gateway's core busy at full load, %", "busy", "{:.0f}", 100),
    Row("latency at full load p50, ms", "loaded_p50_ms", "{:.2f}"),
    Row("latency at full load p99, ms", "loaded_p99_ms", "{:.2f}"),
    *(
        Row(f"requests/s with p99 ≤ {bound} ms", f"frontier.within_{bound}_ms", "{:.0f}", zero="–")
        for bound in (5, 10, 50)
    ),
    *(
        Row(f"{what} {state} {share}, ms", f"{state}.{figure}_{share}_ms", "{:.3f}", added=True)
        for state in ("alone", "awake")
        for what, figure in WAYS
        for share in ("p50", "p99")
    ),
    Row("a 64-chunk stream takes p50, ms", "stream_ms", "{:.0f}"),
    Row("memory before any load (PSS), MiB", "idle_memory", "{:.0f}", _MIB, once=True),
    Row("memory after load (PSS), MiB", "memory", "{:.0f}", _MIB),
    Row("memory recovered, at rest (PSS), MiB", "recovered_memory", "{:.0f}", _MIB, once=True),
    Row("generator's own CPU per request, µs", "generator_us"),
    Row("CPU of strangers on the machine, %", "foreign", "{:.0f}", 100),
)


@dataclass(frozen=True, slots=True)
class Budget:
    """A variant of the gateway, which one it is set beside, and what it may take more for a request."""

    name: str
    beside: str
    budget: str


BUDGETS = (
    Budget("sluicegate", "sluicegate-bare", "ledger 6"),
    Budget("sluicegate-postgres", "sluicegate-bare", "ledger 6"),
    Budget("sluicegate-budgets", "sluicegate", "admit, reserve, settle 10"),
    Budget("sluicegate-guard", "sluicegate-bare", "rules and pii 15"),
    Budget("sluicegate-canary", "sluicegate-bare", "route 2"),
    Budget("sluicegate-traces", "sluicegate-bare", "in metrics, span, log line 26"),
    Budget("sluicegate-all", "sluicegate-bare", "33"),
    Budget("sluicegate-polling", "sluicegate-all", "–"),
)

Rounds = dict[str, list[dict[str, Any]]]


def values(rounds: Rounds, name: str, figure: str) -> list[float]:
    """One figure of one gateway, round by round (`alone.first_p99_ms`: one that is part of another); none if absent."""
    group, _, name_in = figure.rpartition(".")
    found = [one[group] if group else one for one in rounds[name]]
    return [one[name_in] for one in found if one is not None]


def table(result: dict[str, Any]) -> str:
    """The whole report."""
    rounds: Rounds = result["rounds"]
    names = list(rounds)
    parts = [
        _head(result),
        _grid(["", *names], _lines(result, names)),
        *_ratios(rounds, names),
        *_features(rounds),
        _foot(result),
    ]
    return "\n\n".join(part for part in parts if part)


def _head(result: dict[str, Any]) -> str:
    machine, plan = result["machine"], result["plan"]
    repeat = max((len(many) for many in result["rounds"].values()), default=0)
    return (
        f"{result['date']}; {machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, "
        f"Python {machine['python']}, hot modules compiled: {machine['compiled']}, "
        f"{machine['stolen_seconds']:.0f} s stolen by the host; {repeat} rounds. "
        f"The gateway has one core, upstream and generator share another.\n"
        f"Full load: {plan['requests']} requests (200 tokens in, 64 out) over {plan['connections']} connections; "
        f"streams: {plan['streams']} of 64 chunks 2 ms apart, {plan['open_streams']} at a time; a phase ends after "
        f"{plan['seconds']:.0f} s at the latest. Median [quartiles] over rounds; + is what is added to direct."
    )


def _lines(result: dict[str, Any], names: Sequence[str]) -> list[list[str]]:
    return [
        [row.label, *(_single(result, name, row) if row.once else _cell(result["rounds"], name, row) for name in names)]
        for row in ROWS
    ]


def _single(result: dict[str, Any], name: str, row: Row) -> str:
    return "-" if name == "direct" else row.text(result[row.figure][name])


def _cell(rounds: Rounds, name: str, row: Row) -> str:
    many = values(rounds, name, row.figure)
    if not many or (name == "direct" and row.figure.startswith(("halting", "polling", "cpu_", "busy", "memory"))):
        return "-"
    spread = quartiles(many)
    if row.zero is not None and not spread.median:
        return row.zero
    cell = f"{row.text(spread.median)} [{row.text(spread.low)}–{row.text(spread.high)}]"
    if row.added and name != "direct" and "direct" in rounds:
        more = [one - zero for one, zero in zip(many, values(rounds, "direct", row.figure), strict=True)]
        cell += f" +{row.text(quartiles(more).median)}"
    return cell


def _grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([row(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(row, lines)])


def _ratios(rounds: Rounds, names: Sequence[str]) -> list[str]:
    if BASE not in rounds:
        return [f"No ratios: {BASE} did not take part."]
    others = [name for name in names if name not in {"direct", BASE}]
    if not others:
        return []
    lines = [[row.label, *(_ratio(rounds, name, row.figure) for name in others)] for row in ROWS if row.ratio]
    return [_grid([f"times {BASE}, median of rounds [95 % interval]", *others], lines)]


def _features(rounds: Rounds) -> list[str]:
    """What each feature adds to the gateway, beside what it may."""
    found = [one for one in BUDGETS if one.name in rounds and one.beside in rounds]
    lines = [
        [
            one.name,
            one.beside,
            one.budget,
            *(_more(rounds, one, figure) for figure in ("halting.request_us", "halting.chunk_us")),
        ]
        for one in found
    ]
    return [_grid(["adds, µs of CPU", "to", "budget per request", "per request", "per chunk"], lines)] if found else []


def _more(rounds: Rounds, one: Budget, figure: str) -> str:
    pairs = zip(values(rounds, one.name, figure), values(rounds, one.beside, figure), strict=True)
    spread = quartiles([more - zero for more, zero in pairs])
    return f"{spread.median:.1f} [{spread.low:.1f}–{spread.high:.1f}]"


def _ratio(rounds: Rounds, name: str, figure: str) -> str:
    many = values(rounds, name, figure)
    if not many:
        return "-"
    spread = paired_ratio(many, values(rounds, BASE, figure))
    return f"{spread.median:.2f} [{spread.low:.2f}–{spread.high:.2f}]"


def _foot(result: dict[str, Any]) -> str:
    present = [f"- {name} {result['versions'][name]}: {note}" for name, note in result["notes"].items()]
    absent = [f"- {name} is absent: {reason}" for name, reason in result["absent"].items()]
    return "\n".join([*present, *absent])
