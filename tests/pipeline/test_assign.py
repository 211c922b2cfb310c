"""Arms by consistent hashing: the right share, the least movement, the same everywhere, and fast."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from math import sqrt
from time import process_time_ns

import pytest

from app.exchange import Arm
from app.pipeline.assign import arm_at, place

SALT = b"chat/llama-v2"
USERS = [f"user-{index}" for index in range(10_000)]
PLACES = [place(SALT, user) for user in USERS]


def served(weight: float) -> set[str]:
    """Users whom the candidate serves at a weight."""
    return {user for user, at in zip(USERS, PLACES, strict=True) if arm_at(weight, at) is Arm.CANDIDATE}


@pytest.mark.parametrize("weight", [0.5, 1, 5, 10, 12.5, 25, 50, 75, 99])
def test_the_share_is_within_binomial_noise(weight: float) -> None:
    """Of 10 000 users: four standard deviations."""
    share = weight / 100
    assert abs(len(served(weight)) - 10_000 * share) <= 4 * sqrt(10_000 * share * (1 - share))


def test_a_higher_weight_moves_only_users_to_the_candidate() -> None:
    """10 → 20 %: nobody leaves the candidate; a falling weight is the same backwards."""
    weights = [0, 0.1, 1, 5, 10, 20, 50, 99.9, 100]
    assert all(served(low) <= served(high) for low, high in pairwise(weights))
    assert 900 < len(served(20) - served(10)) < 1100


def test_nobody_and_everybody() -> None:
    """0 and 100 % are exact, for the last place and for the first."""
    last = 1 - 2.0**-53
    assert served(0) == set()
    assert served(100) == set(USERS)
    assert arm_at(100, last) is Arm.CANDIDATE
    assert arm_at(0, 0.0) is Arm.STABLE


def test_another_rollout_draws_anew() -> None:
    """The same users are not the first to meet every candidate: of a tenth, a tenth meets the next one too."""
    again = {user for user in USERS if place(b"chat/llama-v3", user) < 0.1}
    assert 50 < len(again & served(10)) < 160


def test_a_place_is_the_same_in_every_process() -> None:
    """It depends on nothing but salt and unit: no hash seed of the interpreter."""
    code = "from app.pipeline.assign import place; print(repr(place(b'chat/llama-v2', 'user-1')))"
    command = [sys.executable, "-c", code]
    printed = {subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip() for _ in range(2)}
    assert printed == {repr(PLACES[1])}


@pytest.mark.parametrize("unit", ["", "é漢字", "\ud800", "x" * 100_000])
def test_any_text_has_a_place(unit: str) -> None:
    """Callers choose it: empty, lone surrogates, long."""
    assert 0 <= place(SALT, unit) < 1


def test_it_takes_at_most_3_microseconds() -> None:
    """CPU time of the best of many short stretches: a busy machine only slows some."""
    best = 10.0**9
    for _ in range(50):
        begin = process_time_ns()
        for user in USERS[:500]:
            arm_at(10.0, place(SALT, user))
        best = min(best, (process_time_ns() - begin) / 500)
    assert best <= 3000
