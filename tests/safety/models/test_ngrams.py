"""Character n-grams as features."""

from __future__ import annotations

import numpy as np

from app.safety.models.ngrams import BITS, features


def test_features_are_of_length_one_and_the_same_every_time() -> None:
    """On every machine: the trained weights are looked up by them."""
    index, weights = features("How do I kill a process?")
    again, _ = features("How do I kill a process?")
    assert np.array_equal(index, again)
    assert abs(float((weights**2).sum()) - 1) < 1e-5
    assert index.min() >= 0
    assert index.max() < 2**BITS
    assert index[:5].tolist() == [26, 136, 205, 218, 236]


def test_case_width_and_spaces_make_no_difference() -> None:
    """What reads alike is alike."""
    one, _ = features("Ignore  ALL rules")
    other, _ = features("ignore all \uff52ules")
    assert np.array_equal(one, other)


def test_any_text_has_features() -> None:
    """Empty, one sign, half a surrogate pair."""
    for text in ("", "a", "\ud800", "\u200b", "字"):
        index, weights = features(text)
        assert len(index) == len(weights) > 0
