"""Heads: from features to probabilities and severities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.safety.models.heads import BUILT, Heads
from tests.safety.models.lines import arrays


def test_a_severity_is_the_highest_level_reached() -> None:
    """Level by level, each with a threshold of its own; what is not a 4 is no 6."""
    heads = Heads(arrays())
    row = np.zeros(len(heads.outputs), np.float32)
    assert heads.severity("hate", row) == 0
    row[heads.outputs.index("hate2")] = 0.6
    assert heads.severity("hate", row) == 2
    row[heads.outputs.index("hate6")] = 0.5
    assert heads.severity("hate", row) == 2
    row[heads.outputs.index("hate4")] = 0.5
    assert heads.severity("hate", row) == 6
    assert heads.severity("sexual", row) == 0


def test_words_speak_for_outputs() -> None:
    """The n-grams' part, end to end."""
    heads = Heads(arrays(violence4="kill him", jailbreak="ignore the rules"))
    texts = ["kill him", "ignore the rules", "the weather is nice"]
    rows = heads.probabilities(texts, ["en"] * 3, {})
    assert [heads.severity("violence", row) for row in rows] == [4, 0, 0]
    assert [heads.hit("jailbreak", row) for row in rows] == [False, True, False]
    assert heads.score("violence4", rows[0]) > 0.9


def test_a_text_is_as_harmful_as_its_worst_piece_and_what_stands_around_it() -> None:
    """For harms the mean of two logits; for attacks the worst piece alone."""
    heads = Heads(arrays())
    whole, single = np.full((1, len(heads.outputs)), 0.5, np.float32), np.full((3, len(heads.outputs)), 0.1, np.float32)
    single[1] = 0.9
    row = heads.together(whole, single)
    assert heads.score("jailbreak", row) == pytest.approx(0.9)
    assert heads.score("violence4", row) == pytest.approx(0.75)
    assert heads.score("violence4", heads.together(whole, whole)) == pytest.approx(0.5)
    assert heads.score("violence4", heads.together(single, whole)) == pytest.approx(0.9)


def test_vectors_are_centred_by_language() -> None:
    """A language's own mean is taken away, the general one where the language is unknown."""
    given = arrays()
    outputs = len(given["outputs"])
    given |= {
        "encoders": np.array(["use"]),
        "nets": np.array(1),
        "centre_use": np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]], np.float16),
        "scale_use": np.array(2.0),
        "w1_0": np.eye(2, 4, dtype=np.float16),
        "b1_0": np.zeros(4, np.float16),
        "w2_0": np.full((4, outputs), 3.0, np.float16),
        "b2_0": np.zeros(outputs, np.float16),
    }
    given["mix"] = np.stack([np.zeros(outputs), np.ones(outputs), np.zeros(outputs)]).astype(np.float32)
    heads = Heads(given)
    vectors = {"use": np.array([[1, 0], [1, 0], [1, 0]], np.float32)}
    rows = heads.probabilities(["a", "b", "c"], ["en", "de", "xx"], vectors)
    assert rows[:, 0] == pytest.approx([0.5, 1 / (1 + np.exp(-6)), 1 / (1 + np.exp(-3))], abs=1e-3)


@pytest.mark.parametrize("path", sorted(BUILT.glob("*.npz")), ids=lambda path: path.stem)
def test_what_is_shipped_holds_arrays_only_and_is_small(path: Path) -> None:
    """No pickled object is ever loaded."""
    assert path.stat().st_size < 4_000_000
    with np.load(path, allow_pickle=False) as loaded:
        assert all(np.isfinite(loaded[name]).all() for name in loaded.files if loaded[name].dtype.kind == "f")
