"""Cosines of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest

from app.safety.models.heads import Array
from app.safety.models.meaning import MOST_WINDOWS, likeness
from app.safety.models.pieces import WINDOW


class Letters:
    """An encoder of two numbers: how many a's and b's there are."""

    def __init__(self) -> None:
        self.read = 0

    def __call__(self, texts: Sequence[str]) -> Array:
        """A row for each text."""
        self.read += len(texts)
        rows = np.array([(text.count("a"), text.count("b")) for text in texts], np.float32)
        return cast("Array", rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))


@pytest.mark.parametrize(
    ("one", "other", "cosine"), [("a", "aa", 1.0), ("a", "b", 0.0), ("ab", "a", 0.7071), ("ab", "ba", 1.0)]
)
def test_the_cosine(one: str, other: str, cosine: float) -> None:
    """Of two short texts."""
    assert likeness([one, other], {"e5": Letters()}) == pytest.approx(cosine, abs=1e-4)


def test_a_long_text_is_the_mean_of_its_windows() -> None:
    """And no more than so many of them are read."""
    letters = Letters()
    long = "a" * WINDOW + "b" * (WINDOW * 100)
    assert likeness([long, "b"], {"use": letters}) == pytest.approx(0.99, abs=0.02)
    assert letters.read == MOST_WINDOWS + 1


@pytest.mark.parametrize(("one", "other"), [("", "a"), ("a", " \n")])
def test_nothing_is_like_nothing(one: str, other: str) -> None:
    """A blank text has no meaning to compare."""
    assert likeness([one, other], {"use": Letters()}) is None


def test_without_an_encoder_nobody_can_tell() -> None:
    """The smallest profile has none."""
    assert likeness(["a", "a"], {}) is None


def test_the_encoder_for_sentences_is_preferred() -> None:
    """One whose cosines tell something."""
    preferred, other = Letters(), Letters()
    likeness(["a", "b"], {"e5": other, "use": preferred})
    assert (preferred.read, other.read) == (2, 0)
