"""Observations on their way: who is observed once, what is told when, and what happens when nobody takes it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.exchange import Result
from app.stores import notes as module
from app.stores.notes import Notes, StoreUnavailable, compact
from app.table import Watch
from app.telemetry import DROPPED
from tests.pipeline.parts import Counted

WATCH = Watch("chat", 1, 60.0, reads=False)
NEXT = Watch("chat", 2, 60.0, reads=False)
GOOD = Result()


class Kept:
    """A store that keeps batches, and can be away."""

    def __init__(self) -> None:
        self.away = False
        self.batches: list[tuple[str, dict[str, Any]]] = []

    async def put(self, model: str, body: str) -> None:
        """Keep a batch."""
        if self.away:
            raise StoreUnavailable("away")
        self.batches.append((model, orjson.loads(body)))

    def all(self, name: str) -> list[Any]:
        """Everything of one kind that was told."""
        return [one for _, batch in self.batches for one in batch[name]]


class Scene:
    """Notes before a store, with a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.store = Kept()
        self.telemetry = Counted()
        self.notes = Notes(self.store, self.telemetry.counter(DROPPED, "rollout_observations"), lambda: self.now)

    def start(self, name: str, unit: float | None = None, watch: Watch = WATCH, *, candidate: bool = False) -> bool:
        """A request starts."""
        return self.notes.started(watch, name, unit, lambda: Result(left=True), candidate=candidate)

    def end(
        self, name: str, result: Result = GOOD, *, candidate: bool = False, observed: bool = True
    ) -> None:  # fmt: skip
        """It ends."""
        self.notes.ended(WATCH, name, result, candidate=candidate, observed=observed)


async def test_a_start_and_an_end() -> None:
    """In one batch or in two; a quiet moment writes nothing."""
    scene = Scene()
    assert scene.start("a", candidate=True)
    await scene.notes.flush()
    scene.end("a", Result(error=True, total_s=1.5), candidate=True)
    await scene.notes.flush()
    await scene.notes.flush()
    assert [batch for _, batch in scene.store.batches] == [
        {"epoch": 1, "starts": [["a", None, 1]], "ends": [], "answered": 0, "skipped": 0},
        {"epoch": 1, "starts": [], "ends": [["a", {"error": True, "total_s": 1.5}]], "answered": 1, "skipped": 0},
    ]


async def test_a_sticky_unit_is_observed_once_a_weight() -> None:
    """And again at the next weight."""
    scene = Scene()
    assert [scene.start(name, unit) for name, unit in (("a", 0.5), ("b", 0.5), ("c", 0.25))] == [True, False, True]
    assert scene.start("d", 0.5, NEXT)
    await scene.notes.flush()
    assert [(name, float.fromhex(unit)) for name, unit, _ in scene.store.all("starts")] == [
        ("a", 0.5),
        ("c", 0.25),
        ("d", 0.5),
    ]


async def test_answers_of_the_candidate_are_counted_observed_or_not() -> None:
    """But not those that say nothing, and not stable's."""
    scene = Scene()
    scene.end("a", candidate=True, observed=False)
    scene.end("b", Result(void=True), candidate=True, observed=False)
    scene.end("c", observed=False)
    await scene.notes.flush()
    assert [batch["answered"] for _, batch in scene.store.batches] == [1]
    assert scene.store.all("ends") == []


async def test_what_runs_for_too_long_is_told_at_the_horizon() -> None:
    """As it stands then; its end is told no more. A rollout with a shorter horizon does not wait for a longer one."""
    scene = Scene()
    scene.start("a")
    scene.start("b", None, Watch("other", 1, 10.0, reads=False))
    scene.now = 10.0
    await scene.notes.flush()
    assert scene.store.all("ends") == [["b", {"left": True}]]
    scene.now = 60.0
    await scene.notes.flush()
    scene.end("a", Result(error=True))
    await scene.notes.flush()
    assert scene.store.all("ends") == [["b", {"left": True}], ["a", {"left": True}]]


async def test_a_store_that_is_away_loses_nothing() -> None:
    """Batches wait, in their order; what cannot be told is not observed, and what is observed is always told."""
    scene = Scene()
    scene.store.away = True
    observed = []
    for number in range(module.OPEN_MOST):
        if scene.start(str(number)):
            observed.append(str(number))
        if number % 1000 == 0:
            await scene.notes.flush()
    for name in observed:
        scene.end(name)
    assert len(observed) == module.OPEN_MOST // 2
    dropped = module.OPEN_MOST - len(observed)
    assert scene.telemetry.total(DROPPED, "rollout_observations") == dropped
    scene.store.away = False
    for _ in range(3):
        await scene.notes.flush()
    assert [name for name, _, _ in scene.store.all("starts")] == observed
    assert [name for name, _ in scene.store.all("ends")] == observed
    assert sum(batch["skipped"] for _, batch in scene.store.batches) == dropped
    assert scene.start("again")


async def test_units_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound a new unit is not observed."""
    monkeypatch.setattr(module, "UNITS_MOST", 2)
    scene = Scene()
    assert [scene.start(str(number), number / 10) for number in range(3)] == [True, True, False]


async def test_an_old_weight_is_forgotten() -> None:
    """Once a later one has come and its requests have ended."""
    scene = Scene()
    scene.start("a", 0.5)
    scene.start("b", 0.5, NEXT)
    await scene.notes.flush()
    assert len(scene.notes._pending) == 2
    scene.end("a")
    await scene.notes.flush()
    await scene.notes.flush()
    assert list(scene.notes._pending) == [("chat", 2)]


def test_a_result_is_told_in_short() -> None:
    """What is as usual is left out; what is not can be read back."""
    odd = Result(streamed=True, first_token_s=0.5, format_ok=False, score=0.0, cost_usd=1e-6)
    assert compact(Result()) == {}
    assert Result(**compact(odd)) == odd
