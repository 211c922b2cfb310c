"""Whole answers judged after the fact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from app.safety.detector import Finding, Inspection
from app.safety.guards import Guards
from tests.pipeline.parts import call
from tests.support.configs import loaded


class Reader:
    """A detector that finds hate where the word is, and dies of a crash."""

    name = "classifier"
    categories = frozenset({"hate"})

    def __init__(self) -> None:
        self.asked: list[Inspection] = []

    async def check(self, inspection: Inspection) -> Sequence[Finding]:
        """Severe hate, or a mild one."""
        self.asked.append(inspection)
        text = " ".join(one.text for one in inspection.passages)
        if "crash" in text:
            raise ConnectionResetError
        return [Finding("hate", 6 if "very" in text else 2)] if "hate" in text else []


async def judged(*texts: str, reader: Reader | None = None, **guard: Any) -> bool | None:
    """What a guard says of an answer."""
    stage: dict[str, Any] = {
        "detectors": ["rules", "pii", *(["classifier"] if reader else [])],
        "block_at": {"hate": 4},
    }
    guards = [{"name": "default", "blocklist": ["bomb"], "completion": stage, **guard}]
    (one,) = loaded({"guards": guards, "safety": {"profile": "tiny"}}).guards
    judges = Guards([one], {"classifier": reader} if reader else {})
    return await judges.harmful(one, "team", call(documents=[{"title": "T", "text": "words"}]), texts)


@pytest.mark.parametrize(
    ("texts", "harm"),
    [(("all is well",), False), (("fine", "a bomb"), True), (("write to bob@example.com",), True), ((), False)],
)
async def test_what_rules_find(texts: tuple[str, ...], harm: bool) -> None:  # noqa: FBT001 - a table
    """In any of the answer's texts."""
    assert await judged(*texts) is harm


@pytest.mark.parametrize(("text", "harm"), [("very hateful", True), ("hate", False), ("crash", None), ("fine", False)])
async def test_what_models_find(text: str, harm: bool | None) -> None:  # noqa: FBT001 - a table
    """From the severity at which the guard acts; one that says nothing leaves it open."""
    assert await judged(text, reader=Reader()) is harm


async def test_a_model_is_told_what_the_answer_is_held_against() -> None:
    """As on the way to a caller."""
    reader = Reader()
    await judged("an answer", reader=reader)
    [seen] = reader.asked
    assert (seen.stage, seen.documents, seen.passages[0].role) == ("completion", ("T\nwords",), "assistant")


async def test_a_model_is_not_asked_when_a_rule_has_found_something() -> None:
    """It would change nothing."""
    reader = Reader()
    assert await judged("a bomb", reader=reader)
    assert not reader.asked


@pytest.mark.parametrize("text", ["a bomb", "all is well"])
async def test_a_guard_that_asks_on_somebodys_account_tells_nothing(text: str) -> None:
    """Or a comparison would hear of harm, and never that there is none."""
    (one,) = loaded(
        {
            "guards": [
                {"name": "g", "blocklist": ["bomb"], "completion": {"detectors": ["rules", "guard_model"]}},
            ],
            "safety": {"guard_model": {"model": "chat", "format": "llama_guard"}},
            "models[0].guard": None,
        }
    ).guards
    reader = Reader()
    assert await Guards([one], {"guard_model": reader}).harmful(one, "team", call(), [text]) is None
    assert not reader.asked


async def test_a_guard_that_looks_at_no_answers_tells_nothing() -> None:
    """None, not "harmless"."""
    assert await judged("a bomb", completion=None, prompt={"detectors": ["rules"]}) is None
