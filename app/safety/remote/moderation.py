"""OpenAI's `/v1/moderations` as a detector. Its 13 categories are ours where they mean the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from app.config import OpenAIModeration
from app.pipeline.call import Transport
from app.safety.detector import OPERATORS, DetectorFailure, Finding, Inspection, Severity
from app.safety.remote.service import Service, pieces, sendable

CATEGORIES: Final = {
    "hate": "hate", "hate/threatening": "hate", "harassment": "hate", "harassment/threatening": "hate",
    "sexual": "sexual", "sexual/minors": "sexual", "violence": "violence", "violence/graphic": "violence",
    "illicit/violent": "violence", "self-harm": "self_harm", "self-harm/intent": "self_harm",
    "self-harm/instructions": "self_harm",
}  # fmt: skip
"""Theirs to ours. `illicit` alone is none of ours."""
HIGH: Final = 0.9
LOW: Final = 0.2
"""Scores: a flagged category is a 4, from `HIGH` on a 6; one that is not flagged is a 2 from `LOW` on."""
MOST_TEXT: Final = 16_000
MOST_TOGETHER: Final = 32
"""Texts of one question."""


class Moderation:
    """Asks the endpoint, all passages in one question or a few."""

    def __init__(self, settings: OpenAIModeration, transport: Transport) -> None:
        self._model = settings.model
        headers = {"authorization": f"Bearer {settings.api_key.reveal()}"}
        self._service = Service(transport, settings.base_url, headers)

    async def check(self, seen: Inspection) -> Sequence[Finding]:
        """What it finds. Raises `DetectorFailure`."""
        texts = [
            (at, piece)
            for at, passage in enumerate(seen.passages)
            if passage.text.strip() and passage.role not in OPERATORS
            for piece in pieces(sendable(passage.text), MOST_TEXT)
        ]
        found: list[Finding] = []
        for start in range(0, len(texts), MOST_TOGETHER):
            some = texts[start : start + MOST_TOGETHER]
            answer = await self._service.post("/moderations", {"model": self._model, "input": [one for _, one in some]})
            results = answer.get("results")
            if type(results) is not list or len(results) != len(some):
                raise DetectorFailure("the service answered with another shape")
            for (at, _), result in zip(some, results, strict=True):
                found += findings(result, at)
        return found


def findings(result: Any, at: int) -> list[Finding]:
    """What one result says, the worst of each of our categories."""
    flags = result.get("categories") if type(result) is dict else None
    scores = result.get("category_scores") if type(result) is dict else None
    if type(flags) is not dict or type(scores) is not dict:
        raise DetectorFailure("the service answered with another shape")
    worst: dict[str, tuple[Severity, float]] = {}
    for theirs, ours in CATEGORIES.items():
        score = scores.get(theirs)
        score = float(score) if isinstance(score, int | float) else 0.0
        severity: Severity = 0
        if flags.get(theirs):
            severity = 6 if score >= HIGH else 4
        elif score >= LOW:
            severity = 2
        if severity:
            worst[ours] = max(worst.get(ours, (0, 0.0)), (severity, score))
    return [Finding(category, severity, score, at) for category, (severity, score) in worst.items()]
