"""The evidence of a rollout, gate by gate. Pure: blocks in, reports out; `state` and `restore` carry it over a restart.

Each gate has its own e-process and its own part of α: by the union bound the chance that any of them ever raises a
false alarm is at most α over the whole rollout, however the gates depend on each other and whenever each gets its
results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.control.difference import Difference
from app.control.evariable import Counts
from app.control.evidence import Evidence
from app.control.policy import Bad, Gate, shares


@dataclass(frozen=True, slots=True)
class Report:
    """What one gate knows.

    `evidence` is the e-process now, `peak` its largest value; the gate alarms when that reaches `needed` = 1/α of the
    gate. `seen` counts units over the whole rollout. `low` and `high` bound the difference of the rates, each at the
    policy's α, None where no interval is kept. `proved` is None where no proof is asked for.
    """

    gate: Bad
    evidence: float
    peak: float
    needed: float
    seen: Counts
    low: float | None = None
    high: float | None = None
    proved: bool | None = None

    @property
    def alarm(self) -> bool:
        """Whether the candidate has been shown to be worse."""
        return self.peak >= self.needed


class Analysis:
    """All gates of one rollout. Without `intervals` only gates that must prove something keep a confidence sequence.

    `alarm` tells whether any gate alarms, or ever did.
    """

    def __init__(self, gates: Sequence[Gate], alpha: float, *, intervals: bool = True) -> None:
        self._gates = tuple(gates)
        self._alpha = alpha
        self._needed = tuple(1 / (alpha * share) for share in shares(self._gates))
        self._evidence = tuple(Evidence(gate.margin) for gate in self._gates)
        self._differences = tuple(_difference(gate, intervals=intervals) for gate in self._gates)
        self._seen = [Counts()] * len(self._gates)
        self._before = list(self._seen)
        self.alarm = False

    def begin_step(self) -> None:
        """The weight is about to change: units of the step are counted anew; the evidence goes on."""
        self._before = list(self._seen)
        for evidence in self._evidence:
            evidence.begin_step()

    @property
    def step_units(self) -> tuple[int, int]:
        """Units observed in the present step by the gate that saw most: stable's, the candidate's."""
        pairs = list(zip(self._seen, self._before, strict=True))
        return max(a.stable - b.stable for a, b in pairs), max(a.candidate - b.candidate for a, b in pairs)

    def observe(self, block: Sequence[Counts]) -> None:
        """Take the next closed block: its counts in the order of the gates."""
        for counts, evidence, difference, needed in zip(
            block, self._evidence, self._differences, self._needed, strict=True
        ):
            evidence.observe(counts)
            if evidence.peak >= needed:
                self.alarm = True
            if difference is not None:
                difference.observe(counts)
        self._seen = [seen.plus(counts) for seen, counts in zip(self._seen, block, strict=True)]

    def reports(self) -> tuple[Report, ...]:
        """One report per gate, in their order."""
        return tuple(self._report(index) for index in range(len(self._gates)))

    def state(self) -> list[list[list[float]]]:
        """Everything that `restore` needs, as numbers: a JSON array."""
        gates = zip(self._evidence, self._seen, self._before, self._differences, strict=True)
        return [
            [evidence.state(), [*map(float, seen)], [*map(float, before)], *(difference.state() if difference else [])]
            for evidence, seen, before, difference in gates
        ]

    def restore(self, state: list[list[list[float]]]) -> None:
        """Continue where the analysis that gave this state stood. Errors: ValueError if the gates are not the same."""
        if len(state) != len(self._gates):
            raise ValueError(f"the stored evidence has {len(state)} gates, the policy {len(self._gates)}")
        for index, (evidence, seen, before, *difference) in enumerate(state):
            self._evidence[index].restore(evidence)
            self.alarm = self.alarm or self._evidence[index].peak >= self._needed[index]
            self._seen[index] = Counts(*map(int, seen))
            self._before[index] = Counts(*map(int, before))
            kept = self._differences[index]
            if kept is not None:
                kept.restore(difference)

    def _report(self, index: int) -> Report:
        gate, evidence, difference = self._gates[index], self._evidence[index], self._differences[index]
        low, high = difference.interval(self._alpha) if difference else (None, None)
        proved = difference.evidence_below(gate.margin) * self._alpha >= 1 if difference and gate.prove else None
        seen, needed = self._seen[index], self._needed[index]
        return Report(gate.kind, evidence.value, evidence.peak, needed, seen, low, high, proved)


def _difference(gate: Gate, *, intervals: bool) -> Difference | None:
    if intervals:
        return Difference(gate.margin)
    return Difference(gate.margin, ()) if gate.prove else None
