"""Which lines belong together."""

from __future__ import annotations

import numpy as np

from scripts.safety.kin import families, folds, near

EAST, NORTH_EAST, NORTH, WEST = (1.0, 0.0), (0.8, 0.6), (0.0, 1.0), (-1.0, 0.0)


def test_kinship_is_passed_on() -> None:
    """East and north have nothing in common but a relative."""
    assert families([np.array([EAST, WEST, NORTH_EAST], np.float32)]).tolist() == [0, 1, 0]
    assert families([np.array([EAST, WEST, NORTH], np.float32)]).tolist() == [0, 1, 2]
    nearer = (0.7, 0.72)
    assert families([np.array([EAST, WEST, NORTH, nearer], np.float32)]).tolist() == [0, 1, 0, 0]


def test_encoders_have_to_agree() -> None:
    """The mean of what they say counts."""
    one, other = np.array([EAST, EAST], np.float32), np.array([EAST, WEST], np.float32)
    assert families([one, one]).tolist() == [0, 0]
    assert families([one, other]).tolist() == [0, 1]


def test_kin_share_a_fold() -> None:
    """Whatever their texts' hashes are; other rows go by their own."""
    texts = [f"text {number}" for number in range(40)]
    alone = folds(texts, [], [], 3)
    assert set(alone.tolist()) == {0, 1, 2}
    together = folds(texts, range(20), [np.tile(np.array([EAST], np.float32), (40, 1))], 3)
    assert set(together[:20].tolist()) == {alone[0]}
    assert together[20:].tolist() == alone[20:].tolist()


def test_what_is_near_to_the_test_split_is_told() -> None:
    """Length does not matter, direction does."""
    lines, held_out = np.array([NORTH, WEST], np.float32), np.array([(0.5, 3.0)], np.float32)
    assert near([lines], [held_out]).tolist() == [True, False]
