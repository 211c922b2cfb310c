"""Azure AI Content Safety: `text:analyze`, `text:shieldPrompt`, `text:detectGroundedness`, `detectProtectedMaterial`.

The shapes are those of the REST reference, 2024-09-01 (groundedness: 2024-09-15-preview).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from app.config import AzureContentSafety
from app.exchange import JsonObject
from app.pipeline.call import Transport
from app.safety.detector import OPERATORS, DetectorFailure, Finding, Inspection, Passage, Severity
from app.safety.remote.service import Service, pieces, sendable
from app.tasks import together

CATEGORIES: Final = {"Hate": "hate", "Sexual": "sexual", "Violence": "violence", "SelfHarm": "self_harm"}
MOST_TEXT: Final = 10_000
"""Characters of one question, in every operation but for those below."""
MOST_DOCUMENTS: Final = 5
"""Documents of one `shieldPrompt`; they have `MOST_TEXT` characters together."""
MOST_ANSWER: Final = 7_500
MOST_SOURCES: Final = 55_000
LEAST_PROTECTED: Final = 110
"""Characters below which nothing is protected."""
OUTSIDERS: Final = frozenset({"tool", "document", "function"})
"""Roles whose text nobody in the conversation wrote: an instruction in it is an indirect attack."""

_Question = Callable[[], Coroutine[Any, Any, list[Finding]]]


class Azure:
    """Asks one resource, all checks at the same time."""

    def __init__(self, settings: AzureContentSafety, transport: Transport) -> None:
        self._checks = frozenset(settings.checks)
        self._version = settings.api_version
        self._groundedness_version = settings.groundedness_version
        self._service = Service(transport, settings.endpoint, {"ocp-apim-subscription-key": settings.api_key.reveal()})

    async def check(self, seen: Inspection) -> Sequence[Finding]:
        """What any of them finds. Raises `DetectorFailure` where one fails."""
        asked: list[_Question] = []
        for at, passage in enumerate(seen.passages):
            if passage.text.strip():
                asked += self._about(seen, at, passage)
        return [finding for found in await together(ask() for ask in asked) for finding in found]

    def _about(self, seen: Inspection, at: int, passage: Passage) -> list[_Question]:
        text = sendable(passage.text)
        asked: list[_Question] = []
        if "harm" in self._checks and passage.role not in OPERATORS:
            asked += [partial(self._harms, piece, at) for piece in pieces(text, MOST_TEXT)]
        if seen.stage == "prompt":
            if "attack" in self._checks and passage.role not in OPERATORS | {"assistant"}:
                asked += [partial(self._attack, piece, at, passage.role) for piece in pieces(text, MOST_TEXT)]
            return asked
        whole = sendable(seen.before) + text
        if "protected_material" in self._checks and len(whole) >= LEAST_PROTECTED:
            asked += [partial(self._protected, piece, at) for piece in pieces(whole, MOST_TEXT)]
        if "ungrounded" in self._checks and seen.documents:
            asked += [partial(self._ungrounded, piece, at, seen) for piece in pieces(text, MOST_ANSWER)]
        return asked

    async def _harms(self, text: str, at: int) -> list[Finding]:
        """`text:analyze`, four severity levels."""
        body: JsonObject = {"text": text, "categories": list(CATEGORIES), "outputType": "FourSeverityLevels"}
        answer = await self._ask("text:analyze", body)
        found = []
        for one in _list(answer, "categoriesAnalysis"):
            name, severity = one.get("category"), one.get("severity")
            if name in CATEGORIES and type(severity) is int and severity > 0:
                found.append(Finding(CATEGORIES[name], _level(severity), min(1.0, severity / 6), at))
        return found

    async def _attack(self, text: str, at: int, role: str) -> list[Finding]:
        """`text:shieldPrompt`: a user's text as the prompt, anybody else's as a document."""
        outside = role in OUTSIDERS
        body = {"userPrompt": "" if outside else text, "documents": [text] if outside else []}
        answer = await self._ask("text:shieldPrompt", body)
        verdicts = _list(answer, "documentsAnalysis") if outside else [answer.get("userPromptAnalysis")]
        if any(_flag(verdict, "attackDetected") for verdict in verdicts):
            return [Finding("indirect_attack" if outside else "jailbreak", 6, None, at)]
        return []

    async def _protected(self, text: str, at: int) -> list[Finding]:
        """`text:detectProtectedMaterial`: lyrics, articles, recipes that the service knows."""
        answer = await self._ask("text:detectProtectedMaterial", {"text": text})
        if _flag(answer.get("protectedMaterialAnalysis"), "detected"):
            return [Finding("protected_material", 6, None, at)]
        return []

    async def _ungrounded(self, text: str, at: int, seen: Inspection) -> list[Finding]:
        """`text:detectGroundedness` without its reasoning."""
        body: JsonObject = {"domain": "Generic", "task": "Summarization", "text": text, "reasoning": False}
        body["groundingSources"] = _within(seen.documents, MOST_SOURCES)
        if seen.question:
            body |= {"task": "QnA", "qna": {"query": sendable(seen.question)[:MOST_ANSWER]}}
        answer = await self._ask("text:detectGroundedness", body, self._groundedness_version)
        if not _flag(answer, "ungroundedDetected"):
            return []
        share = answer.get("ungroundedPercentage")
        return [Finding("ungrounded", 6, float(share) if isinstance(share, int | float) else None, at)]

    async def _ask(self, operation: str, body: JsonObject, version: str | None = None) -> JsonObject:
        return await self._service.post(f"/contentsafety/{operation}?api-version={version or self._version}", body)


def _level(severity: int) -> Severity:
    """The trimmed scale has 0, 2, 4, 6; what lies between counts as the lower one, as Azure maps its eight levels."""
    return 6 if severity >= 6 else 4 if severity >= 4 else 2


def _within(documents: Sequence[str], most: int) -> list[str]:
    """As many documents as fit, the last of them cut."""
    found, left = [], most
    for document in documents:
        if left > 0 and document:
            found.append(sendable(document)[:left])
            left -= len(document)
    return found


def _list(answer: JsonObject, name: str) -> list[Any]:
    found = answer.get(name)
    if type(found) is not list or not all(type(one) is dict for one in found):
        raise DetectorFailure("the service answered with another shape")
    return found


def _flag(verdict: Any, name: str) -> bool:
    found = verdict.get(name) if type(verdict) is dict else None
    if type(found) is not bool:
        raise DetectorFailure("the service answered with another shape")
    return found
