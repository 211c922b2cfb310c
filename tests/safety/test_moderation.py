"""Texts judged for whoever asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from app.errors import GatewayError
from app.exchange import JsonObject
from app.pipeline.report import Report
from app.safety.actions import CATEGORIES
from app.safety.detector import Finding, Inspection
from app.safety.guards import Guards
from tests.support.configs import loaded


class Reader:
    """A detector that finds words, or dies."""

    name = "classifier"
    categories = frozenset({"hate", "self_harm"})

    async def check(self, inspection: Inspection) -> Sequence[Finding]:
        """Mild hate with a score, and something about everything."""
        if any("crash" in one.text for one in inspection.passages):
            raise ConnectionResetError
        found = [Finding("hate", 2, 0.4, i) for i, one in enumerate(inspection.passages) if "hate" in one.text]
        return [*found, Finding("self_harm", 4)] if any("all" in one.text for one in inspection.passages) else found


async def judged(*texts: str, **guard: Any) -> tuple[list[JsonObject], Report]:
    """The results, and what was counted."""
    stage = {"detectors": ["rules", "pii", "classifier"]}
    guards = [{"name": "default", "blocklist": ["bomb"], "prompt": stage, **guard}]
    (one,) = loaded({"guards": guards, "safety": {"profile": "tiny"}}).guards
    report = Report("default")
    return await Guards([one], {"classifier": Reader()}).moderate(one, "team", texts, report), report


async def test_each_text_has_its_result() -> None:
    """In order, with severities, under OpenAI's names and ours."""
    (fine, term, mild), report = await judged("hello", "a bomb for bob@example.com", "I hate it")
    assert not fine["flagged"]
    assert set(fine["severity"]) == set(CATEGORIES)
    assert set(fine["severity"].values()) == {0}
    assert term["flagged"]
    assert (term["severity"]["blocklist"], term["severity"]["pii"]) == (6, 6)
    assert term["categories"]["blocklist"]
    assert (mild["flagged"], mild["severity"]["hate"], mild["category_scores"]["hate"]) == (False, 2, 0.4)
    assert {hit.category: count for hit, count in report.hits.items()} == {"blocklist": 1, "pii": 1}


async def test_thresholds_are_the_guards() -> None:
    """What blocks there is flagged here."""
    stage = {"detectors": ["rules", "classifier"], "block_at": {"hate": 2}}
    (result,), _ = await judged("I hate it", prompt=stage)
    assert result["flagged"]
    assert result["categories"]["hate"]
    assert result["categories"]["harassment"]
    assert not result["categories"]["hate/threatening"]


async def test_what_is_about_everything_is_about_each() -> None:
    """A finding without a place."""
    results, _ = await judged("all", "of it")
    assert [one["severity"]["self_harm"] for one in results] == [4, 4]
    assert [one["categories"]["self-harm"] for one in results] == [True, True]


async def test_no_verdict_is_no_answer() -> None:
    """Nobody is told that a text is fine which nobody has read; unless the guard says so."""
    with pytest.raises(GatewayError) as problem:
        await judged("crash")
    assert problem.value.status == 503
    stage = {"detectors": ["rules", "classifier"], "on_error": "allow"}
    (result,), report = await judged("crash", prompt=stage)
    assert not result["flagged"]
    assert report.failures == {("classifier", "error"): 1}


async def test_a_guard_of_completions_judges_as_such() -> None:
    """Where it looks at nothing else."""
    (result,), _ = await judged("a bomb", prompt=None, completion={"detectors": ["rules"]})
    assert result["flagged"]
