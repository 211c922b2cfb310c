"""A part of what `make prove WHAT=safety_fuzz` does for ten minutes."""

from __future__ import annotations

import pytest

from tests.proofs.safety_fuzz import fuzz


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 1001])
def test_nothing_is_found_in_half_a_minute(seed: int) -> None:
    """By any of the three, from two places."""
    assert all(count > 0 for count in fuzz(0.5, seed).values())
