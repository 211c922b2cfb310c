"""Goals are judged by what was measured, and by nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtests.goals import judge, read, summary
from loadtests.profiles import ALL_ROWS, Goal


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """What the locust file wrote: two kinds of requests, and a time measured inside one of them."""
    times = {"p50": 10, "p95": 20, "p99": 30}
    rows = [
        {"name": "chat", "request": True, "count": 90, "failed": 2, "rate": 9.0, **times},
        {"name": "stream", "request": True, "count": 10, "failed": 0, "rate": 1.0, **times},
        {"name": "ITL", "request": False, "count": 640, "failed": 0, "rate": 64.0, **times},
    ]
    path = tmp_path / "load.json"
    path.write_text(json.dumps(rows))
    return path


def test_only_requests_are_added_up(result: Path) -> None:
    """A thousand gaps between tokens do not make a failed request rarer."""
    total = read(result)[-1]
    assert (total.name, total.count, total.failed, total.rate) == (ALL_ROWS, 100, 2, 10.0)
    assert total.figure("share") == 0.02


@pytest.mark.parametrize(
    ("goal", "kept"),
    [
        (Goal(ALL_ROWS, "share", 0.02), True),
        (Goal(ALL_ROWS, "share", 0.019), False),
        (Goal("chat", "p99", 30), True),
        (Goal("chat", "p95", 19), False),
        (Goal("ITL", "p50", 10), True),
        (Goal("TTFT", "p99", 1000), False),
    ],
)
def test_goals_are_kept_or_missed(result: Path, goal: Goal, *, kept: bool) -> None:
    """At the bound is kept; what was never measured is not."""
    rows = read(result)
    verdicts = judge(rows, [goal])
    assert [one[2] for one in verdicts] == [kept]
    assert f"{'PASS' if kept else 'FAIL'}  {goal}: " in summary(rows, verdicts)


def test_the_summary_has_every_row(result: Path) -> None:
    """With its count and its times; a row that is missing says so."""
    rows = read(result)
    lines = summary(rows, judge(rows, [Goal("TTFT", "p99", 5)])).splitlines()
    assert [line.split()[0] for line in lines] == ["count", "chat", "stream", "ITL", ALL_ROWS, "FAIL"]
    assert lines[3].split() == ["ITL", "640", "0", "64.0", "10", "20", "30"]
    assert lines[-1].endswith("nothing measured")
