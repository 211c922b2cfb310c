"""The analysis of all gates: each with its own part of α, continued over a restart, counted per step."""

from __future__ import annotations

import json

import pytest

from app.control.analysis import Analysis
from app.control.evariable import Counts
from app.control.policy import Bad, Gate

GATES = (Gate(Bad.ERROR), Gate(Bad.HARM), Gate(Bad.REFUSAL, margin=0.05, prove=True))
CALM = Counts(18, 0, 2, 0)
WORSE = Counts(18, 0, 2, 2)


def test_each_gate_has_its_threshold() -> None:
    """1 / (α × share)."""
    assert [report.needed for report in Analysis(GATES, 0.05).reports()] == pytest.approx([40, 100, 1 / 0.015])


def test_the_gate_that_saw_it_alarms() -> None:
    """One gate's bad events are no evidence at another."""
    analysis = Analysis(GATES, 0.05)
    for _ in range(10):
        analysis.observe([CALM, WORSE, CALM])
    assert analysis.alarm
    assert [report.alarm for report in analysis.reports()] == [False, True, False]
    assert analysis.reports()[1].seen == Counts(180, 0, 20, 20)


def test_an_alarm_stays() -> None:
    """What was shown once is not unshown by good blocks that follow."""
    analysis = Analysis(GATES[:1], 0.05, intervals=False)
    while not analysis.alarm:
        analysis.observe([WORSE])
    for _ in range(200):
        analysis.observe([Counts(18, 1, 2, 0)])
    (report,) = analysis.reports()
    assert report.evidence < report.needed <= report.peak
    assert analysis.alarm


def test_only_who_asked_is_told_of_proofs() -> None:
    """And a proof comes when the interval's upper bound is at the margin."""
    analysis = Analysis(GATES, 0.05, intervals=False)
    for _ in range(400):
        analysis.observe([Counts(10, 0, 10, 0)] * 3)
    error, _, refusal = analysis.reports()
    assert error.proved is None
    assert refusal.proved is True
    assert refusal.high is not None
    assert refusal.high <= 0.05


def test_units_are_counted_per_step() -> None:
    """By the gate that observed most; the evidence goes on."""
    analysis = Analysis(GATES, 0.05)
    analysis.observe([CALM, Counts(1, 0, 1, 0), Counts()])
    assert analysis.step_units == (18, 2)
    evidence = analysis.reports()[0].evidence
    analysis.begin_step()
    assert analysis.step_units == (0, 0)
    assert analysis.reports()[0].evidence == pytest.approx(evidence)


@pytest.mark.parametrize("intervals", [True, False])
def test_an_analysis_goes_on_where_it_stood(intervals: bool) -> None:  # noqa: FBT001 - both ways
    """Through JSON: the same reports afterwards."""
    first, second = (Analysis(GATES, 0.05, intervals=intervals) for _ in range(2))
    for _ in range(20):
        first.observe([CALM, Counts(18, 1, 2, 1), CALM])
    first.begin_step()
    second.restore(json.loads(json.dumps(first.state())))
    for analysis in (first, second):
        analysis.observe([CALM, WORSE, CALM])
    assert first.reports() == second.reports()
    assert first.step_units == second.step_units == (18, 2)


def test_another_policy_s_state_is_refused() -> None:
    """Evidence belongs to its gates."""
    with pytest.raises(ValueError, match="3 gates, the policy 1"):
        Analysis(GATES[:1], 0.05).restore(Analysis(GATES, 0.05).state())
