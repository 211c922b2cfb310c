"""Whether an answer is borne out by the documents."""

from __future__ import annotations

import numpy as np
import pytest

from app.safety.models.grounding import FEATURES, Grounding, claims_something, features, words
from app.safety.models.heads import BUILT

MUSEUM = "The Harbour Museum opens at ten. Tickets cost eight euros. Dogs are not allowed inside."


def test_what_is_shared_is_counted() -> None:
    """Words of the claim that the documents have, and numbers that they do not have."""
    [same, number, stranger] = features(
        ["Tickets cost eight euros.", "Tickets cost 12 euros.", "The weather was fine yesterday."], [MUSEUM], None
    )
    assert same[0] == 1
    assert same[3] == 0
    assert number[3] == 1
    assert stranger[0] < 0.5


def test_a_negation_that_the_document_lacks_is_seen() -> None:
    """And one that the claim lacks; in Japanese too."""
    assert features(["Dogs are allowed inside."], [MUSEUM], None)[0][4] == 1
    assert features(["Dogs are not allowed inside."], [MUSEUM], None)[0][4] == 0
    assert features(["犬は入れます。"], ["犬は入れません。"], None)[0][4] == 1


def test_words_of_scripts_without_spaces_are_pairs() -> None:
    """Otherwise a sentence would be one word."""
    assert words("駅から家") == {"駅か", "から", "ら家"}
    assert words("Tickets cost 8,50 €") == {"tickets", "cost", "8,50"}


@pytest.mark.parametrize(("sentence", "claims"), [("Is it open?", False), ("Yes.", False), ("It opens at ten.", True)])
def test_a_question_claims_nothing(sentence: str, *, claims: bool) -> None:
    """Nor does a word."""
    assert claims_something(sentence) == claims


def test_the_worst_sentence_decides() -> None:
    """One invention among truths is an invention; who claims nothing invents nothing."""
    weights = np.zeros(FEATURES, np.float32)
    weights[0] = -20
    grounding = Grounding(weights, 10.0, 0.5)
    true = "The Harbour Museum opens at ten."
    assert (grounding.ungrounded(true, [MUSEUM], {}) or 0) < 0.1
    assert (grounding.ungrounded(f"{true} It was founded by a sailor long ago.", [MUSEUM], {}) or 0) > 0.9
    assert grounding.ungrounded("Is it open?", [MUSEUM], {}) is None


def test_many_documents_are_bounded_work() -> None:
    """Those that share most with the answer are looked at."""
    many = [f"Sentence number {number} is about something else entirely." for number in range(3000)]
    [row] = features(["Tickets cost eight euros."], [*many, MUSEUM], None)
    assert row[0] == 1


def test_the_shipped_model_tells_truth_from_invention() -> None:
    """Without an encoder it still has the words."""
    grounding = Grounding.load(BUILT / "grounded.npz")
    true = grounding.ungrounded("Tickets cost eight euros.", [MUSEUM], {})
    invented = grounding.ungrounded("The founder was a sailor from Norway, born in 1821.", [MUSEUM], {})
    assert true is not None
    assert invented is not None
    assert true < invented
