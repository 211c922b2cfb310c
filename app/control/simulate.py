"""What a gate would do at one weight, tried many times on invented traffic with the code that runs live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from random import Random

from app.control.analysis import Analysis
from app.control.fixed_rule import FixedRule
from app.control.policy import Bad, Gate
from app.control.traffic import Crowd, Independent, Lifelike, Rates, Traffic

LEVELS = 20
"""The steps in which a weight moves from `weight` to `weight_end`."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One weight, one or more gates, two arms with known rates: what `rollout simulate` is asked.

    `stable_rate` and `candidate_rate` are probabilities of a bad event per request at the first gate; at the others
    both arms have `stable_rate`. `weight` is percent and moves evenly to `weight_end` where that is given. Evidence is
    looked at after every `look_every` requests. `crowd` makes users sticky, `late_s` delays bad results, both with one
    gate only. `fixed` tries the rule of comparison instead. `first_run` is the number of
    the first run: several trials may then do a part each of what one would.
    """

    stable_rate: float
    candidate_rate: float
    weight: float = 10.0
    alpha: float = 0.05
    max_requests: int = 20_000
    look_every: int = 20
    runs: int = 200
    seed: int = 1
    gates: tuple[Gate, ...] = (Gate(Bad.ERROR),)
    weight_end: float | None = None
    rps: float = 10.0
    late_s: float = 0.0
    crowd: Crowd | None = None
    fixed: Callable[[], FixedRule] | None = None
    first_run: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        for name, rate in (("stable rate", self.stable_rate), ("candidate rate", self.candidate_rate)):
            if not 0 <= rate <= 1:
                raise ValueError(f"the {name} is a probability, not {rate}")
        if not 0 < self.weight <= 100 or not 0 <= (self.weight if self.weight_end is None else self.weight_end) <= 100:
            raise ValueError("a weight is a percentage above 0")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must be between 0 and 1, not {self.alpha}")
        if min(self.max_requests, self.look_every, self.runs, self.rps) <= 0:
            raise ValueError("requests, looks, runs and requests per second must be above 0")
        if self.lifelike and len(self.gates) > 1:
            raise ValueError("users and late results are simulated with one gate")

    @property
    def lifelike(self) -> bool:
        """Whether requests must be simulated one by one."""
        return self.crowd is not None or self.late_s > 0


@dataclass(frozen=True, slots=True)
class Ending:
    """One run: requests sent until it ended, those of the candidate among them, and whether it was rolled back."""

    requests: int
    candidate_requests: int
    rolled_back: bool


@dataclass(frozen=True, slots=True)
class Simulation:
    """The endings of all runs."""

    endings: tuple[Ending, ...]

    @property
    def rollbacks(self) -> int:
        """Runs that were rolled back."""
        return sum(ending.rolled_back for ending in self.endings)

    def document(self) -> dict[str, int | float | None]:
        """What `--json` prints.

        Runs that were not rolled back count as infinitely late in the median and the 90th percentile of the requests to
        the rollback: these are null where they fall among such runs. `median_candidate_requests` is over all runs.
        """
        late = [float(ending.requests) if ending.rolled_back else None for ending in self.endings]
        return {
            "runs": len(self.endings),
            "rollbacks": self.rollbacks,
            "rollback_rate": self.rollbacks / len(self.endings),
            "median_requests_to_rollback": quantile(late, 0.5),
            "p90_requests_to_rollback": quantile(late, 0.9),
            "median_candidate_requests": quantile([float(ending.candidate_requests) for ending in self.endings], 0.5),
        }


def simulate(trial: Trial) -> Simulation:
    """Every run has its own seed, made of the trial's: same trial, same endings."""
    runs = range(trial.first_run, trial.first_run + trial.runs)
    return Simulation(tuple(_run(trial, run_random(trial.seed, run)) for run in runs))


def run_random(seed: int, run: int) -> Random:
    """The source of chance of one run."""
    return Random(f"{seed}/{run}")  # noqa: S311 - invented traffic, to be the same again


def quantile(values: Sequence[float | None], part: float) -> float | None:
    """The smallest value that at least `part` of the values do not exceed; None stands for infinity."""
    ranked = sorted(values, key=lambda value: float("inf") if value is None else value)
    return ranked[max(ceil(part * len(ranked)) - 1, 0)]


def _run(trial: Trial, random: Random) -> Ending:
    traffic = _traffic(trial, random)
    analysis = Analysis(trial.gates, trial.alpha, intervals=False)
    rule = trial.fixed() if trial.fixed else None
    sent = exposed = 0
    while sent < trial.max_requests:
        size = min(trial.look_every, trial.max_requests - sent)
        level = LEVELS * sent // trial.max_requests
        batch = traffic.send(size, _weight(trial, level), level if trial.weight_end is not None else 0)
        sent += size
        exposed += batch.requests.candidate
        if rule:
            rule.observe(batch.requests, sent / trial.rps)
        else:
            for block in batch.blocks:
                analysis.observe(block)
        if rule.alarm if rule else analysis.alarm:
            return Ending(sent, exposed, rolled_back=True)
    return Ending(sent, exposed, rolled_back=False)


def _weight(trial: Trial, level: int) -> float:
    if trial.weight_end is None:
        return trial.weight
    return trial.weight + (trial.weight_end - trial.weight) * level / (LEVELS - 1)


def _traffic(trial: Trial, random: Random) -> Traffic:
    rates = Rates(trial.stable_rate, trial.candidate_rate)
    if trial.lifelike:
        return Lifelike(random, rates, rps=trial.rps, late_s=trial.late_s, crowd=trial.crowd)
    alike = Rates(trial.stable_rate, trial.stable_rate)
    return Independent(random, [rates, *[alike] * (len(trial.gates) - 1)])
