"""What a round makes of what it saw."""

from __future__ import annotations

import pytest

from loadtests.round import delays, foreign


def test_a_piece_counts_from_the_write_of_its_last_event() -> None:
    """Also one that took longer than the upstream's next write, and one that brings two."""
    assert delays([1.0, 2.0, 3.0], [1.5, 3.25, 3.5], [1, 2, 3]) == pytest.approx([0.5, 1.25, 0.5])
    assert delays([1.0, 2.0, 3.0], [1.5, 3.5], [1, 3]) == pytest.approx([0.5, 0.5])


def test_what_comes_ahead_is_left_out_of_account() -> None:
    """The role, with the first piece or by itself; and what follows the last write is no piece of it."""
    assert delays([1.0, 2.0], [1.5, 2.25, 2.5], [2, 3, 4]) == pytest.approx([0.5, 0.25])
    assert delays([1.0, 2.0], [1.25, 1.5, 2.25], [1, 2, 3]) == pytest.approx([0.25, 0.25])


def test_strangers_have_what_is_left_of_the_machines_time() -> None:
    """Nothing where ticks say less than the processes' own clocks, or where the phase was shorter than a tick."""
    assert foreign(2.0, 1.5) == 0.25
    assert foreign(0.01, 0.013) == 0.0
    assert foreign(0.0, 0.004) == 0.0
