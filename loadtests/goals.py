"""What a load has come to: the statistics that the locust file wrote, judged by a profile's goals."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from loadtests.profiles import ALL_ROWS, Goal


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the statistics: requests of a kind, or a time that was measured inside them. Milliseconds."""

    name: str
    count: int
    failed: int
    rate: float
    p50: float
    p95: float
    p99: float

    def figure(self, name: str) -> float:
        """The figure that a goal bounds."""
        return self.failed / max(1, self.count) if name == "share" else float(getattr(self, name))


def read(path: Path) -> list[Row]:
    """The rows, and one that adds up the requests among them: times measured inside requests are none."""
    found = json.loads(path.read_text())
    rows = [Row(**{name: value for name, value in one.items() if name != "request"}) for one in found]
    requests = [row for row, one in zip(rows, found, strict=True) if one["request"]]
    counts = sum(row.count for row in requests), sum(row.failed for row in requests)
    return [*rows, Row(ALL_ROWS, *counts, sum(row.rate for row in requests), 0.0, 0.0, 0.0)]


def judge(rows: Iterable[Row], goals: Iterable[Goal]) -> list[tuple[Goal, float | None, bool]]:
    """Each goal with what was reached, and whether it was kept. A row that is not there keeps nothing."""
    found = {row.name: row for row in rows if row.count}
    verdicts: list[tuple[Goal, float | None, bool]] = []
    for goal in goals:
        row = found.get(goal.row)
        value = None if row is None else row.figure(goal.figure)
        verdicts.append((goal, value, value is not None and value <= goal.most))
    return verdicts


def summary(rows: Iterable[Row], verdicts: Iterable[tuple[Goal, float | None, bool]]) -> str:
    """A table of the rows and a line per goal, for a launch checklist."""
    lines = [f"{'':<14}{'count':>9}{'failed':>8}{'per s':>9}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}"]
    lines += [
        f"{row.name:<14}{row.count:>9}{row.failed:>8}{row.rate:>9.1f}{row.p50:>9g}{row.p95:>9g}{row.p99:>9g}"
        for row in rows
    ]
    for goal, value, kept in verdicts:
        got = (
            "nothing measured"
            if value is None
            else f"{value * 100:.3g} %"
            if goal.figure == "share"
            else f"{value:g} ms"
        )
        lines.append(f"{'PASS' if kept else 'FAIL'}  {goal}: {got}")
    return "\n".join(lines)
