"""Whether an answer is borne out by the documents that came with the request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np

from app.safety.models.heads import Array
from app.safety.models.pieces import sentences

FEATURES = 8
MOST_SENTENCES = 200
"""Sentences of all documents that an answer is held against; of more, those that share most words with it."""
_WORD = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)*")
_NEGATIONS = frozenset(
    word
    for words in (
        "no not never nobody nothing none without",
        "kein keine keinen keinem keiner nicht nie niemals niemand nichts ohne",
        "ni nunca jamás nadie nada sin ne pas jamais aucun aucune rien personne sans",
        "non mai nessuno nessuna nulla senza não ninguém nenhum nenhuma sem",
    )
    for word in words.split()
)
_CJK_NEGATIONS = ("ない", "ません", "なかった", "不", "没", "沒", "無", "无", "未")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")

Encode = Callable[[Sequence[str]], Array]


class Grounding:
    """A logistic model over what a sentence of the answer shares with the best sentences of the documents."""

    def __init__(self, weights: Array, bias: float, threshold: float) -> None:
        self._weights = weights
        self._bias = bias
        self.threshold = threshold

    @classmethod
    def load(cls, path: Path) -> Grounding:
        """Read a file made by scripts/safety/ground.py."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(arrays["weights"].astype(np.float32), float(arrays["bias"]), float(arrays["threshold"]))

    def ungrounded(self, answer: str, documents: Sequence[str], encoders: Mapping[str, Encode]) -> float | None:
        """How sure it is that some sentence is not borne out; None where the answer claims nothing."""
        claims = [sentence for sentence in sentences(answer) if claims_something(sentence)]
        if not claims:
            return None
        rows = features(claims, documents, encoders.get("use"))
        return float(1 / (1 + np.exp(-(rows @ self._weights + self._bias).max())))


def claims_something(sentence: str) -> bool:
    """Whether a sentence could be right or wrong: questions and what has hardly a word are left alone."""
    bare = sentence.rstrip(" \"'”’»\uff09)")
    return not bare.endswith(("?", "\uff1f")) and len(words(sentence)) >= 3


def words(text: str) -> set[str]:
    """Words, numbers, and pairs of signs in scripts that put no spaces between words."""
    low = text.casefold()
    signs = _CJK.findall(low)
    pairs = {one + other for one, other in pairwise(signs)}
    return {word for word in _WORD.findall(low) if not _CJK.search(word)} | pairs


def features(claims: Sequence[str], documents: Sequence[str], encode: Encode | None) -> Array:
    """A row for each claim: what it shares with all documents, and with the one sentence that is nearest to it."""
    source = [sentence for document in documents for sentence in sentences(document)]
    everything = set().union(*map(words, source)) if source else set()
    by_sentence = [words(sentence) for sentence in source]
    claimed = [words(claim) for claim in claims]
    source, by_sentence = _nearest(source, by_sentence, set().union(*claimed))
    likeness = _likeness(claims, source, encode)
    rows = [
        _row(claim, said, everything, source, by_sentence, likeness[at])
        for at, (claim, said) in enumerate(zip(claims, claimed, strict=True))
    ]
    return np.array(rows, np.float32).reshape(-1, FEATURES)


def _row(
    claim: str, said: set[str], everything: set[str], source: list[str], by_sentence: list[set[str]], likeness: Array
) -> list[float]:
    shares = [len(said & one) / max(len(said), 1) for one in by_sentence] or [0.0]
    best = int(np.argmax(np.array(shares) + likeness[: len(shares)])) if source else 0
    nearest = source[best] if source else ""
    numbers = {word for word in said if word[0].isdigit()}
    return [
        len(said & everything) / max(len(said), 1),
        max(shares),
        float(likeness.max()) if source else 0.0,
        float(bool(numbers - everything)),
        float(_negated(claim) != _negated(nearest)) if source else 0.0,
        float(np.log1p(len(said))),
        shares[best],
        len({word for word in said - everything if len(word) > 3}) / max(len(said), 1),
    ]


def _nearest(source: list[str], by_sentence: list[set[str]], said: set[str]) -> tuple[list[str], list[set[str]]]:
    if len(source) <= MOST_SENTENCES:
        return source, by_sentence
    order = sorted(range(len(source)), key=lambda at: -len(by_sentence[at] & said))[:MOST_SENTENCES]
    return [source[at] for at in order], [by_sentence[at] for at in order]


def _likeness(claims: Sequence[str], source: list[str], encode: Encode | None) -> Array:
    if encode is None or not source:
        return np.zeros((len(claims), max(len(source), 1)), np.float32)
    vectors: Any = encode([*claims, *source])
    return cast("Array", vectors[: len(claims)] @ vectors[len(claims) :].T)


def _negated(sentence: str) -> bool:
    low = sentence.casefold()
    return any(sign in low for sign in _CJK_NEGATIONS) or "n't" in low or not _NEGATIONS.isdisjoint(_WORD.findall(low))
