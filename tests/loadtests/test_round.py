"""What a round makes of what it saw."""

from __future__ import annotations

import pytest

from loadtests.round import delays


def test_pieces_that_all_arrive_are_paired_in_order() -> None:
    """Also one that took longer than the upstream's next write."""
    assert delays([1.0, 2.0, 3.0], [1.5, 3.25, 3.5]) == pytest.approx([0.5, 1.25, 0.5])


def test_a_piece_of_several_writes_counts_from_the_last_before_it() -> None:
    """What is held back on purpose is not the gateway's slowness."""
    assert delays([1.0, 2.0, 3.0], [2.25, 3.5]) == pytest.approx([0.25, 0.5])
