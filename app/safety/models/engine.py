"""Questions to findings, in the detector process: what is scored, by which heads, and what becomes of the scores."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from app.safety.detector import Finding, Inspection
from app.safety.models.decoding import decoded
from app.safety.models.disguise import undisguised
from app.safety.models.grounding import Grounding
from app.safety.models.heads import Array, Heads
from app.safety.models.likeness import LIKENESS
from app.safety.models.meaning import likeness
from app.safety.models.pieces import apart
from app.safety.models.wire import Answer, Ask

HARMS = ("hate", "sexual", "violence", "self_harm")
MOST_REMEMBERED = 8192
"""Pieces whose scores are kept: a conversation sends its whole past again with every turn."""
MOST_CARRIED = 300
"""Characters before a streamed piece that are scored together with it."""
_OUTSIDERS = frozenset({"tool", "document", "function"})
"""Roles whose text nobody in the conversation wrote: an instruction in it is an indirect attack."""

_Reading = tuple[list[str], list[str]]
"""The windows over a text, and its sentences."""


class Encoder(Protocol):
    """Texts to vectors of length one."""

    def __call__(self, texts: Sequence[str]) -> Array:
        """A row for each text."""


class Engine:
    """Answers many questions in one go; what several of them ask about is scored once."""

    def __init__(
        self,
        heads: Heads,
        encoders: dict[str, Encoder],
        language: Callable[[str], str],
        grounding: Grounding | None = None,
    ) -> None:
        self._heads = heads
        self._encoders = encoders
        self._language = language
        self._grounding = grounding
        self._known: OrderedDict[bytes, Array] = OrderedDict()

    def answer(self, questions: Sequence[Ask]) -> list[Answer]:
        """An answer to each question, in their order."""
        wanted = [self._texts(question) for question in questions]
        rows = self._rows([piece for texts in wanted for _, readings in texts for piece in _pieces(readings)])
        answers = []
        for question, texts in zip(questions, wanted, strict=True):
            if question.detector == "grounded":
                findings = self._ungrounded(question.inspection)
            elif question.detector == LIKENESS:
                score = likeness([passage.text for passage in question.inspection.passages], self._encoders)
                findings = () if score is None else (Finding(LIKENESS, 0, score),)
            else:
                scored = [(at, self._together(rows, readings)) for at, readings in texts if readings]
                look = self._harms if question.detector == "classifier" else self._attacks
                findings = tuple(finding for at, many in scored for finding in look(question.inspection, at, many))
            answers.append(Answer(question.number, findings))
        return answers

    def scores(self, texts: Sequence[str], judged: Callable[[str], bool] = bool) -> list[Array]:
        """The worst probability of each output over the readings of each text; for evaluations.

        Pieces that are not `judged` are left out.
        """
        found = []
        for text in texts:
            kept = [(list(filter(judged, whole)), list(filter(judged, single))) for whole, single in _readings(text)]
            found.append([reading for reading in kept if any(reading)] or [([text], [])])
        rows = self._rows([piece for readings in found for piece in _pieces(readings)])
        return [self._together(rows, readings).max(axis=0) for readings in found]

    def _together(self, rows: dict[str, Array], readings: list[_Reading]) -> Array:
        """A row for each reading of a text."""
        return np.stack(
            [
                self._heads.together(
                    np.stack([rows[piece] for piece in whole or single]),
                    np.stack([rows[piece] for piece in single or whole]),
                )
                for whole, single in readings
            ]
        )

    def _texts(self, question: Ask) -> list[tuple[int | None, list[_Reading]]]:
        """What is scored for a question: the readings of each passage, by the passage's number."""
        if question.detector in ("grounded", LIKENESS):
            return []
        seen = question.inspection
        found: list[tuple[int | None, list[_Reading]]] = []
        for at, passage in enumerate(seen.passages):
            if seen.before and passage.text:
                joined = seen.before[-MOST_CARRIED:] + passage.text
                found.append((at, [*_readings(joined), *_readings(passage.text)]))
            elif passage.text:
                found.append((at, _readings(passage.text)))
        if question.detector == "jailbreak":
            found.extend((None, _readings(text)) for text in seen.documents if text)
        return found

    def _rows(self, texts: list[str]) -> dict[str, Array]:
        unique = list(dict.fromkeys(texts))
        marks = [hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest() for text in unique]
        new = [(text, mark) for text, mark in zip(unique, marks, strict=True) if mark not in self._known]
        if new:
            fresh = [text for text, _ in new]
            vectors = {name: encode(fresh) for name, encode in self._encoders.items()}
            scored = self._heads.probabilities(fresh, [self._language(text) for text in fresh], vectors)
            self._known.update(zip((mark for _, mark in new), scored, strict=True))
        rows = {text: self._known[mark] for text, mark in zip(unique, marks, strict=True)}
        for mark in marks:
            self._known.move_to_end(mark)
        while len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
        return rows

    def _harms(self, _: Inspection, at: int | None, rows: Array) -> list[Finding]:
        found = []
        for harm in HARMS:
            severity = max(self._heads.severity(harm, row) for row in rows)
            if severity:
                score = max(self._heads.score(f"{harm}4", row) for row in rows)
                found.append(Finding(harm, severity, round(score, 4), at))
        return found

    def _attacks(self, seen: Inspection, at: int | None, rows: Array) -> list[Finding]:
        indirect = at is None or seen.passages[at].role in _OUTSIDERS
        outputs = ("indirect_attack",) if indirect else ("jailbreak",)
        best = max(self._heads.score(output, row) for output in outputs for row in rows)
        if any(self._heads.hit(output, row) for output in outputs for row in rows):
            return [Finding("indirect_attack" if indirect else "jailbreak", 6, round(best, 4), at)]
        return []

    def _ungrounded(self, seen: Inspection) -> tuple[Finding, ...]:
        if self._grounding is None:
            return ()
        found = []
        for at, passage in enumerate(seen.passages):
            score = self._grounding.ungrounded(passage.text, seen.documents, self._encoders)
            if score is not None and score >= self._grounding.threshold:
                found.append(Finding("ungrounded", 6, round(score, 4), at))
        return tuple(found)


def _readings(text: str) -> list[_Reading]:
    """A text as it is and, where that differs, as it reads once disguises are off or it is decoded; each in pieces."""
    found = dict.fromkeys((text, undisguised(text), *decoded(text)))
    return [reading for reading in map(apart, found) if any(reading)]


def _pieces(readings: list[_Reading]) -> list[str]:
    return [piece for reading in readings for pieces in reading for piece in pieces]
