"""Texts judged by a guard for whoever asks: OpenAI's moderation shape, the gateway's own categories, and severities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app.errors import OVERLOADED, GatewayError
from app.exchange import JsonObject
from app.pipeline.report import Hit, Report
from app.safety.actions import CATEGORIES
from app.safety.detector import Inspection, Passage
from app.safety.stage import Stage

_OPENAI: Final = {
    "harassment": "hate", "harassment/threatening": None, "hate": "hate", "hate/threatening": None, "illicit": None,
    "illicit/violent": None, "self-harm": "self_harm", "self-harm/instructions": None, "self-harm/intent": None,
    "sexual": "sexual", "sexual/minors": None, "violence": "violence", "violence/graphic": None,
}  # fmt: skip
"""OpenAI's categories and ours for them; None where nobody here tells them apart: never flagged."""


async def moderate(stage: Stage, texts: Sequence[str], report: Report) -> list[JsonObject]:
    """A result for each text. Raises `GatewayError` `overloaded` where a detector that has to be heard said nothing."""
    found: list[dict[str, tuple[int, float]]] = [{} for _ in texts]
    if stage.scanner is not None:
        for text, one in zip(texts, found, strict=True):
            for match in stage.scanner.find_raw(text)[1]:
                _add(one, match.category, match.severity, None)
                _tell(stage, match.category, match.severity, match.detector, report)
    if stage.ensemble is not None:
        passages = tuple(Passage(text, "user") for text in texts)
        verdict = await stage.ensemble.check(Inspection("prompt", passages, ask=report.ask))
        for detector, reason in verdict.failed:
            report.fail(detector, reason)
        if stage.ensemble.unsafe(verdict):
            raise GatewayError(OVERLOADED, "A detector gave no verdict. Try again shortly.", retry_after=1.0)
        for detector, finding in verdict.told:
            places = range(len(texts)) if finding.passage is None else (finding.passage,)
            for place in places:
                _add(found[place], finding.category, finding.severity, finding.score)
            _tell(stage, finding.category, finding.severity, detector, report)
    return [_result(stage, one) for one in found]


def _add(found: dict[str, tuple[int, float]], category: str, severity: int, score: float | None) -> None:
    before = found.get(category, (0, 0.0))
    found[category] = max(before[0], severity), max(before[1], severity / 6 if score is None else score)


def _tell(stage: Stage, category: str, severity: int, detector: str, report: Report) -> None:
    if stage.actions.of(category, severity) is not None:
        report.add(Hit("prompt", category, severity, "log", detector))


def _result(stage: Stage, found: dict[str, tuple[int, float]]) -> JsonObject:
    flagged = {name: stage.actions.of(name, severity) is not None for name, (severity, _) in found.items()}
    ours = {name: flagged.get(name, False) for name in CATEGORIES}
    theirs = {name: flagged.get(one, False) if one is not None else False for name, one in _OPENAI.items()}
    scores = {name: found.get(name, (0, 0.0))[1] for name in CATEGORIES}
    their_scores = {name: scores.get(one, 0.0) if one is not None else 0.0 for name, one in _OPENAI.items()}
    return {
        "flagged": any(flagged.values()),
        "categories": {**theirs, **ours},
        "category_scores": {**their_scores, **scores},
        "category_applied_input_types": {name: ["text"] for name in (*_OPENAI, *CATEGORIES)},
        "severity": {name: found.get(name, (0, 0.0))[0] for name in CATEGORIES},
    }
