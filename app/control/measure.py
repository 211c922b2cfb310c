"""The measurements of one rollout between two looks: from batches of observations to what a verdict is made of.

Pure but for what it keeps; times are given. What it must not forget in a restart is `state` and the units; requests
that were under way then are observed no further.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from app.control.analysis import Analysis
from app.control.blocks import Book
from app.control.evariable import Counts
from app.control.gates import limits_of, tally
from app.control.lifecycle import Progress, State
from app.control.policy import Bad, Policy
from app.control.units import Meeting, Unit, meet
from app.control.verdict import Measured
from app.exchange import JsonObject, Result

LOST_S = 15.0
"""Seconds beyond the horizon after which a request of which nobody tells is given up: its worker has died."""
LOST = Result(void=True)


@dataclass(slots=True)
class _Step:
    """What was seen in the present step."""

    answered: int = 0
    stable: int = 0
    candidate: int = 0


@dataclass(slots=True)
class News:
    """What must be kept beside the state: units that were met, and answers that a score may be given for."""

    units: dict[str, Unit] = field(default_factory=dict)
    answers: list[JsonObject] = field(default_factory=list)


class Measurement:
    """Follows one rollout; `follow` first, then `take`, then `look`."""

    _progress: Progress
    _analysis: Analysis
    _book: Book
    _scores: Book
    _scored: set[tuple[int, str]]
    _weights: dict[int, float]
    _step: _Step

    def __init__(self, policy: Policy, horizon: float, *, heeds_scores: bool = False) -> None:
        self.news = News()
        self.skipped = 0
        """Requests that were not observed because a bound was reached."""
        self._policy = policy
        self._horizon = horizon
        self._heeds_scores = heeds_scores
        self._limits = limits_of(policy.gates)
        self._units: dict[str, Unit] = {}
        self._begin(Progress(attempt=-1))

    def follow(self, progress: Progress, weight: float) -> bool:
        """Take note of where the rollout is; whether evidence began anew."""
        if progress.revision == self._progress.revision and progress.attempt == self._progress.attempt:
            return False
        fresh = progress.attempt != self._progress.attempt
        if fresh:
            self._begin(progress)
        elif progress.state is State.RUNNING:
            self._analysis.begin_step()
            self._step = _Step()
        self._progress = progress
        self._weights[progress.epoch] = weight
        return fresh

    def forget_units(self) -> None:
        """A new run draws everybody anew."""
        self._units.clear()

    def take(self, batch: Mapping[str, Any], now: float) -> bool:
        """Take a batch in, at the time at which it came; False where it belongs to a weight that is not known yet."""
        epoch = batch["epoch"]
        if epoch > self._progress.epoch:
            return False
        if epoch == self._progress.epoch:
            self._step.answered += batch["answered"]
        self.skipped += batch["skipped"]
        for request, unit, candidate in batch["starts"]:
            self._start(epoch, request, unit, now, candidate=bool(candidate))
        for request, result in batch["ends"]:
            self._book.ended(request, Result(**result))
        return True

    def score(self, request: str, meeting: Meeting, score: float, now: float, *, candidate: bool) -> None:
        """Take a score in. Blocks of scores are filled as these come, within one weight: arms do not differ in that."""
        key = meeting.epoch, meeting.unit
        if key not in self._scored:
            self._scored.add(key)
            self._scores.started(request, meeting, now, candidate=candidate)
            self._scores.ended(request, Result(score=score))

    def look(self, now: float) -> Measured:
        """Close the blocks that are complete; what is known then."""
        for block in self._book.closed(now):
            counts = tally(self._policy.gates, self._limits, block)
            self._observe(counts, block.epoch)
        for block in self._scores.closed(now):
            counts = tally(self._policy.gates, self._limits, block)
            kept = [
                one if gate.kind is Bad.LOW_QUALITY else Counts()
                for gate, one in zip(self._policy.gates, counts, strict=True)
            ]
            self._observe(kept, block.epoch)
        step = self._step
        return Measured(step.answered, step.stable, step.candidate, self._analysis.reports())

    def state(self) -> JsonObject:
        """Everything that `restore` needs, as JSON."""
        return {
            "attempt": self._progress.attempt,
            "revision": self._progress.revision,
            "analysis": self._analysis.state(),
            "limits": [limit.state() if limit is not None else None for limit in self._limits],
            "step": asdict(self._step),
            "weights": {str(epoch): weight for epoch, weight in self._weights.items()},
            "skipped": self.skipped,
        }

    def restore(self, state: Mapping[str, Any], progress: Progress, units: Iterable[Mapping[str, Any]]) -> None:
        """Continue where the measurement that gave this state stood, if it was of the same attempt."""
        self._units = {row["unit"]: _unit(row) for row in units}
        if state["attempt"] != progress.attempt:
            return
        self._begin(progress)
        self._analysis.restore(state["analysis"])
        for limit, kept in zip(self._limits, state["limits"], strict=True):
            if limit is not None:
                limit.restore(kept)
        self._step = _Step(**state["step"])
        self._weights = {int(epoch): weight for epoch, weight in state["weights"].items()}
        self.skipped = state["skipped"]
        self._progress = Progress(attempt=state["attempt"], revision=state["revision"], epoch=max(self._weights))

    def _begin(self, progress: Progress) -> None:
        self._progress = progress
        self._analysis = Analysis(self._policy.gates, self._policy.alpha, intervals=False)
        self._book = Book(horizon=self._horizon + LOST_S, unfinished=LOST)
        self._scores = Book(horizon=0.0, unfinished=LOST)
        self._scored = set()
        self._weights = {}
        self._step = _Step()

    def _start(self, epoch: int, request: str, unit: str | None, now: float, *, candidate: bool) -> None:
        weight = self._weights.get(epoch)
        known = None if unit is None else self._units.get(unit)
        if weight is None or (known is not None and known.epoch > epoch):
            return  # of a weight that is long gone
        if unit is None:
            meeting: Meeting | None = Meeting(request, epoch)
        else:
            self._units[unit], meeting = meet(unit, known, epoch, weight, candidate=candidate)
            self.news.units[unit] = self._units[unit]
        if meeting is None or not self._book.started(request, meeting, now, candidate=candidate):
            return
        if self._heeds_scores:
            name = request if unit is None else unit
            place = {"request_id": request, "epoch": epoch, "cohort": meeting.cohort, "unit": name}
            self.news.answers.append({**place, "candidate": candidate})

    def _observe(self, counts: Sequence[Counts], epoch: int) -> None:
        self._analysis.observe(counts)
        if epoch == self._progress.epoch:
            self._step.stable += max(one.stable for one in counts)
            self._step.candidate += max(one.candidate for one in counts)


def _unit(row: Mapping[str, Any]) -> Unit:
    return Unit(
        epoch=row["epoch"], weight=row["weight"], ceiling=row["ceiling"],
        candidate=bool(row["candidate"]), excluded=bool(row["excluded"]),
    )  # fmt: skip


def rows(units: Mapping[str, Unit]) -> list[JsonObject]:
    """Units as they are stored; how often one came in its epoch is not: it has been observed."""
    names = ("epoch", "weight", "ceiling", "candidate", "excluded")
    return [{"unit": name, **{one: getattr(unit, one) for one in names}} for name, unit in units.items()]
