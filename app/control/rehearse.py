"""A whole rollout tried many times on invented traffic; steps, gates, verdicts and transitions are the live ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

from app.control.analysis import Analysis
from app.control.lifecycle import Event, Progress, State, apply, tick, weight
from app.control.policy import Policy
from app.control.simulate import Ending, Simulation, quantile, run_random
from app.control.traffic import Crowd, Independent, Lifelike, Rates, Traffic
from app.control.verdict import Measured, event_of, judge


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A policy, the two arms' rates at each of its gates, and the traffic: `rps` requests a second.

    The candidate behaves like stable below the weight `bad_from` (percent). Evidence is looked at after every
    `look_every` requests or every second, whichever is later. `crowd` and `late_s` as in `Trial`, with one gate only.
    """

    policy: Policy
    rates: tuple[Rates, ...]
    rps: float = 10.0
    look_every: int = 20
    bad_from: float = 0.0
    runs: int = 200
    seed: int = 1
    late_s: float = 0.0
    crowd: Crowd | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be rehearsed."""
        if len(self.rates) != len(self.policy.gates):
            raise ValueError(f"{len(self.rates)} pairs of rates for {len(self.policy.gates)} gates")
        if min(self.rps, self.look_every, self.runs) <= 0:
            raise ValueError("requests per second, looks and runs must be above 0")
        if self.lifelike and len(self.rates) > 1:
            raise ValueError("users and late results are simulated with one gate")

    @property
    def lifelike(self) -> bool:
        """Whether requests must be simulated one by one."""
        return self.crowd is not None or self.late_s > 0


@dataclass(frozen=True, slots=True)
class Finish:
    """One run: how it ended, after how many seconds, at which weight (percent) and why."""

    ending: Ending
    state: State
    seconds: float
    weight: float
    reason: str


@dataclass(frozen=True, slots=True)
class Finishes:
    """How all runs ended."""

    runs: tuple[Finish, ...]

    def document(self) -> dict[str, int | float | dict[str, int] | None]:
        """What `--json` prints: the keys of a single weight's simulation, and how the rollouts ended.

        `paused` are inconclusive ones. The seconds are medians: over the promoted runs, and over those rolled back.
        """
        states = Counter(run.state for run in self.runs)
        return {
            **Simulation(tuple(run.ending for run in self.runs)).document(),
            "promoted": states[State.PROMOTED],
            "paused": states[State.PAUSED],
            "waiting": states[State.READY],
            "median_seconds_to_promotion": self._seconds(State.PROMOTED),
            "median_seconds_to_rollback": self._seconds(State.ROLLED_BACK),
            "rollbacks_by_gate": dict(Counter(str(run.reason) for run in self.runs if run.ending.rolled_back)),
        }

    def _seconds(self, state: State) -> float | None:
        seconds = [run.seconds for run in self.runs if run.state is state]
        return quantile(seconds, 0.5) if seconds else None


def rehearse(plan: Rehearsal) -> Finishes:
    """Every run has its own seed, made of the plan's: same plan, same finishes."""
    return Finishes(tuple(_Run(plan, run_random(plan.seed, run)).finish() for run in range(plan.runs)))


class _Run:
    """One rollout from its start until a person would be needed, or it is over."""

    def __init__(self, plan: Rehearsal, random: Random) -> None:
        self._plan, self._policy = plan, plan.policy
        self._progress = apply(plan.policy, Progress(), Event.START, "rehearsal")
        self._analysis = Analysis(plan.policy.gates, plan.policy.alpha, intervals=False)
        self._size = max(plan.look_every, round(plan.rps))
        self._traffic = _traffic(plan, random)
        self._sent = self._exposed = self._step_exposed = 0
        self._gate = ""

    def finish(self) -> Finish:
        share = 0.0
        while self._progress.state is State.RUNNING:
            share = weight(self._policy, self._progress)
            self._send(share)
            self._decide()
        ending = Ending(self._sent, self._exposed, self._progress.state is State.ROLLED_BACK)
        return Finish(ending, self._progress.state, self._sent / self._plan.rps, share, self._gate)

    def _send(self, share: float) -> None:
        batch = self._traffic.send(self._size, share, self._progress.epoch)
        for block in batch.blocks:
            self._analysis.observe(block)
        self._sent += self._size
        self._exposed += batch.requests.candidate
        self._step_exposed += batch.requests.candidate
        seconds = self._size / self._plan.rps
        self._progress = tick(self._progress, seconds, seconds)

    def _decide(self) -> None:
        reports = self._analysis.reports()
        verdict = judge(self._policy, self._progress, Measured(self._step_exposed, *self._analysis.step_units, reports))
        event = event_of(self._policy, verdict)
        if event is None:
            return
        self._gate = next((report.gate for report in reports if report.alarm), "")
        self._progress = apply(self._policy, self._progress, event, verdict.reason, alarm=verdict.alarm)
        self._analysis.begin_step()
        self._step_exposed = 0


def _traffic(plan: Rehearsal, random: Random) -> Traffic:
    if plan.lifelike:
        rates = plan.rates[0]
        return Lifelike(random, rates, rps=plan.rps, late_s=plan.late_s, crowd=plan.crowd, bad_from=plan.bad_from)
    return Independent(random, plan.rates, plan.bad_from)
