"""The rule of comparison does what it says, no more: it looks, compares, and forgets."""

from __future__ import annotations

from app.control.evariable import Counts
from app.control.fixed_rule import FixedRule


def test_it_alarms_above_the_threshold() -> None:
    """Three points more than stable, with two allowed."""
    rule = FixedRule()
    rule.observe(Counts(900, 9, 100, 4), 300.0)
    assert rule.alarm


def test_it_is_quiet_at_the_threshold() -> None:
    """Exactly two points is not more than two."""
    rule = FixedRule(0.02)
    rule.observe(Counts(100, 0, 100, 2), 300.0)
    assert not rule.alarm


def test_it_looks_only_now_and_then() -> None:
    """Requests add up until the next look, and are forgotten after it."""
    rule = FixedRule()
    rule.observe(Counts(90, 0, 10, 10), 299.0)
    assert not rule.alarm
    rule.observe(Counts(9000, 0, 990, 0), 300.0)
    assert not rule.alarm
    rule.observe(Counts(90, 0, 10, 1), 600.0)
    assert rule.alarm


def test_an_arm_without_traffic_is_no_alarm() -> None:
    """There is nothing to compare."""
    rule = FixedRule()
    rule.observe(Counts(0, 0, 100, 100), 300.0)
    rule.observe(Counts(100, 0, 0, 0), 600.0)
    assert not rule.alarm
