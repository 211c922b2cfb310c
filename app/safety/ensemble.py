"""The detectors of a stage that have to be waited for, asked at the same time; the strictest of them wins."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from app.safety.detector import Detector, DetectorFailure, Finding, Inspection
from app.tasks import together


class Told(NamedTuple):
    """What one detector has said."""

    detector: str
    finding: Finding


class Verdict(NamedTuple):
    """What all of them have said, and which of them said nothing, with why: `error` or `timeout`."""

    told: tuple[Told, ...]
    failed: tuple[tuple[str, str], ...]


class Ensemble:
    """Detectors with a deadline each. In `blocks` stand the reasons for which a missing verdict counts as unsafe."""

    __slots__ = ("_deadline", "_detectors", "blocks", "categories")

    def __init__(self, detectors: Sequence[Detector], deadline: float, blocks: frozenset[str]) -> None:
        self._detectors = tuple(detectors)
        self._deadline = deadline
        self.blocks = blocks
        self.categories = frozenset().union(*(detector.categories for detector in detectors))

    async def check(self, inspection: Inspection) -> Verdict:
        """Ask all of them. Takes no longer than the deadline."""
        if len(self._detectors) == 1:
            answers = [await self._ask(self._detectors[0], inspection)]
        else:
            answers = await together(self._ask(detector, inspection) for detector in self._detectors)
        return Verdict(
            tuple(
                Told(detector.name, finding)
                for detector, answer in zip(self._detectors, answers, strict=True)
                if not isinstance(answer, str)
                for finding in answer
            ),
            tuple(
                (detector.name, answer)
                for detector, answer in zip(self._detectors, answers, strict=True)
                if isinstance(answer, str)
            ),
        )

    def unsafe(self, verdict: Verdict) -> bool:
        """Whether somebody said nothing who has to."""
        return any(reason in self.blocks for _, reason in verdict.failed)

    async def _ask(self, detector: Detector, inspection: Inspection) -> Sequence[Finding] | str:
        try:
            async with asyncio.timeout(self._deadline):
                return await detector.check(inspection)
        except TimeoutError:
            return "timeout"
        except (DetectorFailure, OSError):
            return "error"
