"""The figures of an evaluation, on cases that can be checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scripts.safety.measures import auprc, auroc, verdicts


def test_verdicts_are_counted() -> None:
    """Two hits, one miss, one false alarm among five negatives."""
    labels, said = np.array([1, 1, 1, 0, 0, 0, 0, 0]), np.array([1, 1, 0, 1, 0, 0, 0, 0])
    assert verdicts(labels, said) == pytest.approx((2 / 3, 2 / 3, 2 / 3, 0.2))


def test_what_cannot_be_told_is_nan() -> None:
    """Nothing positive, nothing said, nothing there."""
    assert math.isnan(verdicts(np.array([0, 0]), np.array([0, 0])).recall)
    assert verdicts(np.array([1, 0]), np.array([0, 0])).f1 == 0
    assert math.isnan(auroc(np.array([1, 1]), np.array([0.1, 0.2])))
    assert math.isnan(auprc(np.array([0]), np.array([0.1])))


def test_auroc_is_the_chance_to_be_ranked_right() -> None:
    """Three of four pairs; a tie counts half."""
    assert auroc(np.array([1, 0, 1, 0]), np.array([0.9, 0.5, 0.4, 0.1])) == 0.75
    assert auroc(np.array([1, 0]), np.array([0.5, 0.5])) == 0.5


def test_auprc_is_average_precision() -> None:
    """Precision at each positive, averaged; the order of ties does not matter."""
    labels, scores = np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])
    assert auprc(labels, scores) == pytest.approx((1 + 2 / 3) / 2)
    assert auprc(np.array([1, 0]), np.array([0.5, 0.5])) == auprc(np.array([0, 1]), np.array([0.5, 0.5])) == 0.5
