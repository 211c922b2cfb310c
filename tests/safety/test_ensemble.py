"""Detectors are asked at the same time, each within its deadline; the strictest wins, and silence has a meaning."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from app.safety.detector import DetectorFailure, Finding, Inspection, Passage
from app.safety.ensemble import Ensemble, Told

PROMPT = Inspection("prompt", (Passage("hello", "user"),))


class Scripted:
    """A detector that takes its time, and finds or fails."""

    def __init__(self, name: str, *found: Finding, wait: float = 0.0, problem: Exception | None = None) -> None:
        self.name = name
        self.categories = frozenset({"hate"})
        self.asked: list[Inspection] = []
        self._found, self._wait, self._problem = found, wait, problem

    async def check(self, inspection: Inspection) -> Sequence[Finding]:
        """As scripted."""
        self.asked.append(inspection)
        await asyncio.sleep(self._wait)
        if self._problem is not None:
            raise self._problem
        return self._found


async def test_all_are_asked_at_the_same_time() -> None:
    """Waiting for three takes as long as waiting for one."""
    began = time.monotonic()
    slow = [Scripted(name, Finding("hate", 4), wait=0.3) for name in "abc"]
    verdict = await Ensemble(slow, 5.0, frozenset()).check(PROMPT)
    assert verdict.told == tuple(Told(name, Finding("hate", 4)) for name in "abc")
    assert time.monotonic() - began < 0.8


@pytest.mark.parametrize("problem", [DetectorFailure("down"), ConnectionResetError("gone")])
async def test_a_crash_is_an_error(problem: Exception) -> None:
    """The others are heard all the same."""
    verdict = await Ensemble([Scripted("a", problem=problem), Scripted("b", Finding("hate", 2))], 5, frozenset()).check(
        PROMPT
    )
    assert verdict.failed == (("a", "error"),)
    assert [told.detector for told in verdict.told] == ["b"]


async def test_a_hang_is_a_timeout() -> None:
    """Within the deadline, alone and among others."""
    for others in ([], [Scripted("b")]):
        began = time.monotonic()
        verdict = await Ensemble([Scripted("a", wait=60), *others], 0.05, frozenset()).check(PROMPT)
        assert verdict.failed == (("a", "timeout"),)
        assert time.monotonic() - began < 5


async def test_silence_means_what_the_guard_says() -> None:
    """For each reason."""
    member = Scripted("a", problem=DetectorFailure("down"))
    for blocks, unsafe in ((frozenset({"error"}), True), (frozenset({"timeout"}), False)):
        ensemble = Ensemble([member], 1, blocks)
        assert ensemble.unsafe(await ensemble.check(PROMPT)) is unsafe


async def test_the_callers_leaving_is_nobodys_failure() -> None:
    """A cancelled request cancels the question."""
    task = asyncio.ensure_future(Ensemble([Scripted("a", wait=60)], 60, frozenset()).check(PROMPT))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_what_can_be_found_is_what_any_can_find() -> None:
    """Together."""
    assert Ensemble([Scripted("a")], 1, frozenset()).categories == {"hate"}
