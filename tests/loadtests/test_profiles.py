"""The load profiles: each makes sense by itself, and in every size."""

from __future__ import annotations

import ast
import re

import pytest

from loadtests.profiles import ALL_ROWS, BETWEEN, FIRST, PROFILES, Goal, Profile
from tests.house.tree import ROOT

PLAYER = (ROOT / "loadtests" / "locust" / "profiled.py").read_text()
KINDS = set(re.findall(r'PROFILE\.callers\.get\("(\w+)"', PLAYER))
ROWS = set(re.findall(r'self\.(?:ask|stream)\([^()]*"(\w+)"', PLAYER)) | {ALL_ROWS, BETWEEN, FIRST}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_callers_and_rows_are_those_of_the_player(profile: Profile) -> None:
    """A kind of caller that nobody plays, or a goal for a row that nobody writes, would never be noticed."""
    assert set(profile.callers) <= KINDS
    assert {goal.row for goal in profile.goals} <= ROWS
    assert profile.goals
    assert {goal.figure for goal in profile.goals} <= {"share", "p50", "p95", "p99"}


def test_every_kind_of_caller_is_in_a_profile() -> None:
    """What the player can play is played."""
    assert {kind for profile in PROFILES.values() for kind in profile.callers} == KINDS
    classes = [node.name for node in ast.walk(ast.parse(PLAYER)) if isinstance(node, ast.ClassDef)]
    assert len(classes) == len(KINDS) + 2  # the abstract one, and the shape


def test_profiles_come_in_every_size() -> None:
    """Fewer callers for less time, but never none for none."""
    spike = PROFILES["spike"]
    small = spike.scaled(0.05, 0.1)
    assert [stage.users for stage in small.stages] == [1, 10, 1, 10, 1]
    assert small.seconds == pytest.approx(spike.seconds / 10)
    least = spike.scaled(0.0001, 0.0001)
    assert {(stage.users, stage.seconds, stage.rate) for stage in least.stages} == {(1, 1.0, 1.0)}


def test_goals_say_what_they_want() -> None:
    """In words for a checklist."""
    assert str(Goal("chat", "p99", 250)) == "chat p99 ≤ 250 ms"
    assert str(Goal(ALL_ROWS, "share", 0.001)) == "all failed ≤ 0.1%"
