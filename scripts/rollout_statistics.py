"""Simulate what docs/rollout-statistics.md states, and print its tables.

`python -m scripts.rollout_statistics KEPT.json [--runs N] [--jobs N] [SECTION …]`. All of it takes hours on one core.
What has been simulated is kept in the file named and not simulated again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from app.control.fixed_rule import FixedRule
from app.control.policy import Bad, Gate, Policy, Step
from app.control.rehearse import Rehearsal, rehearse
from app.control.simulate import Ending, Simulation, Trial, simulate
from app.control.traffic import Crowd, Rates
from scripts import rollout_crowds as crowds
from scripts.rollout_arrays import endings

Document = dict[str, float | None]
Row = Sequence[str]

ONE = (Gate(Bad.ERROR),)
FOUR = (
    Gate(Bad.ERROR),
    Gate(Bad.SLOW_FIRST_TOKEN, seconds=2),
    Gate(Bad.HARM),
    Gate(Bad.COST, over_usd=0.01),
)
ALL = (
    *FOUR,
    Gate(Bad.SLOW_TOTAL, seconds=30),
    Gate(Bad.REFUSAL),
    Gate(Bad.TRUNCATED),
    Gate(Bad.BAD_FORMAT),
    Gate(Bad.LOW_QUALITY, below=0.5),
)
STEPS = (Step(1), Step(5), Step(25), Step(50), Step(100))
RATES, WEIGHTS = (0.01, 0.05, 0.2), (1.0, 5.0, 10.0, 25.0, 50.0)
PART = 100
"""Runs that are kept together: what an interruption may cost."""
ZIPF = partial(Trial, 0.02, 0.02, rps=10.0, crowd=Crowd())


class Kept:
    """Documents of simulations by name, and parts of unfinished ones, in a file that survives an interruption."""

    def __init__(self, path: Path, runs: int, jobs: int = 1) -> None:
        self._path = path
        self.runs = runs
        self._jobs = jobs
        self._kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def trial(self, name: str, trial: Trial) -> Document:
        """The simulation's document; `name` and the number of runs identify it."""
        name = f"{name} x{trial.runs}"
        return self._once(name, lambda: Simulation(self._endings(name, trial)).document())

    def _endings(self, name: str, trial: Trial) -> tuple[Ending, ...]:
        """Of all runs: a part at a time, by some processes."""
        starts = range(0, trial.runs, PART)
        parts = {
            f"{name} #{start}": replace(trial, first_run=start, runs=min(PART, trial.runs - start)) for start in starts
        }
        missing = {part: own for part, own in parts.items() if part not in self._kept}
        with ProcessPoolExecutor(self._jobs) as pool:
            for part, done in zip(missing, pool.map(simulate, missing.values()), strict=True):
                self._keep(part, [astuple(ending) for ending in done.endings])
        return tuple(Ending(*ending) for part in parts for ending in self._kept.pop(part))

    def _keep(self, name: str, value: object) -> None:
        self._kept[name] = value
        self._path.write_text(json.dumps(self._kept))

    def rehearsal(self, name: str, plan: Rehearsal) -> Document:
        """The same for a whole rollout."""
        return self._once(f"{name} x{plan.runs}", lambda: rehearse(plan).document())

    def arrays(self, name: str, work: Callable[[], Any]) -> Document:
        """The same for many runs side by side."""
        return self._once(f"{name} x{self.runs}", lambda: {"rollback_rate": float(np.isfinite(work()).mean())})

    def _once(self, name: str, work: Callable[[], Mapping[str, object]]) -> Document:
        if name not in self._kept:
            document = work()
            self._keep(name, {key: value for key, value in document.items() if isinstance(value, int | float | None)})
            print(name, self._kept[name], file=sys.stderr, flush=True)
        return cast("Document", self._kept[name])


def alike(kept: Kept) -> Iterable[Row]:
    """Both arms alike: false alarms of one gate, beside the fixed rule on the same traffic."""
    yield "bad in both arms", "weight", "evidence", "fixed rule, 1 request/s", "fixed rule, 10 requests/s"
    for rate in RATES:
        for weight in WEIGHTS:
            trial = partial(Trial, rate, rate, weight, runs=kept.runs)
            name = f"alike {rate} {weight}"
            yield (
                percent(rate),
                percent(weight / 100),
                percent(kept.trial(name, trial())["rollback_rate"]),
                percent(kept.trial(f"{name} fixed 1", trial(fixed=FixedRule, rps=1.0))["rollback_rate"]),
                percent(kept.trial(f"{name} fixed 10", trial(fixed=FixedRule, rps=10.0))["rollback_rate"]),
            )


def alike_all_gates(kept: Kept) -> Iterable[Row]:
    """Both arms alike with nine gates on, each with events of its own at the same rate."""
    yield "bad in both arms, at each gate", "weight", "any of nine gates"
    for rate in RATES:
        for weight in WEIGHTS:
            row = kept.arrays(f"all {rate} {weight}", partial(endings, rate, weight, ALL, runs=kept.runs))
            yield percent(rate), percent(weight / 100), percent(row["rollback_rate"])


def users(kept: Kept) -> Iterable[Row]:
    """Both arms alike, sticky users, late results, moving weights; the fixed rule on the same traffic."""
    yield "traffic", "weight", "evidence", "fixed rule", "every request counted by itself"
    moving: tuple[tuple[str, float, float], ...] = (("falling", 50.0, 1.0), ("rising", 1.0, 50.0))
    cases: list[tuple[str, str, str, Trial]] = [
        ("Zipf users", percent(weight / 100), f"users {weight}", ZIPF(weight=weight)) for weight in (1.0, 10.0, 50.0)
    ]
    for way, weight, end in moving:
        trial = ZIPF(weight=weight, weight_end=end, late_s=30.0)
        traffic = f"Zipf users, results up to 30 s late, {way} weight"
        cases.append((traffic, f"{weight:g} → {end:g} %", f"users {way}", trial))
    for rate, rps in ((0.01, 10.0), (0.2, 100.0)):
        trial = Trial(rate, rate, 50.0, weight_end=1.0, late_s=30.0, rps=rps)
        traffic = f"{percent(rate)} bad, results up to 30 s late, falling weight, {rps:g} requests/s"
        cases.append((traffic, "50 → 1 %", f"late falling {rate} {rps}", trial))
    few = min(kept.runs, 300)
    for traffic, weights, name, trial in cases:
        row = kept.arrays(name, partial(crowds.endings, replace(trial, runs=kept.runs)))
        fixed = kept.trial(f"{name} fixed", replace(trial, runs=few, fixed=FixedRule))
        wrong = None
        if trial.crowd is not None and trial.weight_end is None:
            counted = replace(trial, runs=few, crowd=Crowd(per_request=True))
            wrong = kept.trial(f"{name} per request", counted)["rollback_rate"]
        yield traffic, weights, percent(row["rollback_rate"]), percent(fixed["rollback_rate"]), percent(wrong)


def margins(kept: Kept) -> Iterable[Row]:
    """The candidate exactly as much worse as the margin allows."""
    yield "stable", "candidate", "margin", "weight", "false alarms"
    for stable, margin in ((0.01, 0.01), (0.05, 0.02), (0.2, 0.05)):
        for weight in (10.0, 50.0):
            gates = (Gate(Bad.ERROR, margin=margin),)
            trial = Trial(stable, stable + margin, weight, gates=gates, runs=kept.runs)
            row = kept.trial(f"margin {stable} {margin} {weight}", trial)
            texts = map(percent, (stable, stable + margin, margin, weight / 100, row["rollback_rate"]))
            yield tuple(texts)


def detection(kept: Kept) -> Iterable[Row]:
    """How many requests until the rollback: one gate with all of α; error beside three gates; error beside eight."""
    yield (
        "stable",
        "candidate",
        "weight",
        "one gate: median",
        "90 %",
        "candidate's own",
        "four gates: median",
        "nine gates: median",
    )
    pairs = ((0.01, 0.03), (0.01, 0.05), (0.01, 0.1), (0.01, 0.5), (0.01, 1.0), (0.05, 0.1), (0.05, 0.15), (0.2, 0.3))
    for stable, candidate in pairs:
        for weight in (1.0, 10.0, 50.0):
            name, trial = f"{stable} {candidate} {weight}", partial(Trial, stable, candidate, weight)
            one = kept.trial(f"detect {name}", trial(runs=kept.runs))
            four, nine = (
                kept.trial(f"detect {len(gates)} {name}", trial(runs=min(kept.runs, runs), gates=gates))
                for gates, runs in ((FOUR, 400), (ALL, 200))
            )
            yield (
                *map(percent, (stable, candidate, weight / 100)),
                *map(count, (one["median_requests_to_rollback"], one["p90_requests_to_rollback"])),
                count(one["median_candidate_requests"]),
                *(count(many["median_requests_to_rollback"]) for many in (four, nine)),
            )


def tuned(kept: Kept) -> Iterable[Row]:
    """A fixed rule tuned to the evidence's median delay for 1 → 5 % at 10 %: its false alarms at other rates."""
    yield "rule", "median for 1 → 5 %", *(f"false alarms at {percent(rate)}" for rate in RATES)
    goal = kept.trial("detect 0.01 0.05 10.0", Trial(0.01, 0.05, 10.0, runs=kept.runs))["median_requests_to_rollback"]
    rates = [kept.trial(f"alike {r} 10.0", Trial(r, r, 10.0, runs=kept.runs))["rollback_rate"] for r in RATES]
    yield "evidence", count(goal), *map(percent, rates)
    for rps in (1.0, 10.0):
        points = min((p / 200 for p in range(1, 41)), key=partial(_distance, kept, rps, goal or 0.0))
        rule = partial(FixedRule, points, _every(rps))
        name = f"tuned {rps} {points}"
        delay = kept.trial(name, Trial(0.01, 0.05, 10.0, rps=rps, fixed=rule, runs=kept.runs))
        false = [kept.trial(f"{name} {r}", Trial(r, r, 10.0, rps=rps, fixed=rule, runs=kept.runs)) for r in RATES]
        title = f"Δ error > {100 * points:g} points, every {_every(rps):g} s at {rps:g} requests/s"
        yield title, count(delay["median_requests_to_rollback"]), *(percent(row["rollback_rate"]) for row in false)


def _every(rps: float) -> float:
    return 300.0 if rps == 1 else 60.0


def _distance(kept: Kept, rps: float, goal: float, points: float) -> float:
    rule = partial(FixedRule, points, _every(rps))
    row = kept.trial(f"tune {rps} {points}", Trial(0.01, 0.05, 10.0, rps=rps, fixed=rule, runs=200))
    return abs((row["median_requests_to_rollback"] or 1e9) - goal)


def rollouts(kept: Kept) -> Iterable[Row]:
    """Whole rollouts 1, 5, 25, 50, 100 % of ten minutes each, with the default four gates."""
    yield "candidate", "requests/s", "promoted", "rolled back", "paused", "median s to the end", "candidate's requests"
    good = Rates(0.01, 0.01)
    cases: tuple[tuple[str, float, Rates], ...] = (
        ("as good as stable (1 % bad)", 0.0, good),
        ("3 % errors", 0.0, Rates(0.01, 0.03)),
        ("5 % errors", 0.0, Rates(0.01, 0.05)),
        ("5 % errors from 25 % on", 25.0, Rates(0.01, 0.05)),
        ("10 % errors from 25 % on", 25.0, Rates(0.01, 0.1)),
        ("fails from 25 % on", 25.0, Rates(0.01, 1.0)),
    )
    for rps in (10.0, 100.0):
        for name, bad_from, rates in cases:
            runs = min(kept.runs, 1000 if rates is good and rps == 10 else 200)
            plan = Rehearsal(Policy(STEPS, FOUR), (rates, good, good, good), rps, bad_from=bad_from, runs=runs)
            row = kept.rehearsal(f"rollout {name} {rps}", plan)
            seconds = row["median_seconds_to_promotion"] if rates is good else row["median_seconds_to_rollback"]
            parts = [percent((row[key] or 0) / runs) for key in ("promoted", "rollbacks", "paused")]
            yield name, f"{rps:g}", *parts, count(seconds), count(row["median_candidate_requests"])


def closed_crowd(kept: Kept) -> Iterable[Row]:
    """Whole rollouts before a closed circle of sticky users, who come back at every step."""
    yield "users", "steps", "promoted", "rolled back", "paused as inconclusive"
    for people in (300, 3000):
        steps = (Step(10), Step(30), Step(60))
        crowd = Crowd(users=people, evenness=5.0)
        plan = Rehearsal(
            Policy(steps, ONE), (Rates(0.02, 0.02),), 20.0, runs=min(kept.runs, 500), late_s=5.0, crowd=crowd
        )
        row = kept.rehearsal(f"circle {people}", plan)
        parts = [percent((row[key] or 0) / plan.runs) for key in ("promoted", "rollbacks", "paused")]
        yield f"{people}", "10, 30, 60 %", *parts


def proofs(kept: Kept) -> Iterable[Row]:
    """Seconds to prove that a candidate is not worse by the margin, and how often a worse one is let through."""
    yield "stable", "candidate", "margin", "weight", "promoted within 200 000 requests", "median requests"
    for stable, extra, margin in ((0.01, 0.0, 0.01), (0.01, 0.01, 0.01), (0.05, 0.0, 0.02), (0.05, 0.02, 0.02)):
        for weight in (10.0, 50.0):
            gates = (Gate(Bad.ERROR, margin=margin, prove=True),)
            policy = Policy((Step(weight, 0.0, 0, 20_000.0),), gates)
            plan = Rehearsal(policy, (Rates(stable, stable + extra),), 10.0, runs=min(kept.runs, 500))
            row = kept.rehearsal(f"prove {stable} {extra} {margin} {weight}", plan)
            seconds = row["median_seconds_to_promotion"]
            requests = count(seconds * 10 if seconds is not None and not extra else None)
            texts = map(percent, (stable, stable + extra, margin, weight / 100, (row["promoted"] or 0) / plan.runs))
            yield *texts, requests


SECTIONS = (alike, detection, tuned, margins, users, rollouts, closed_crowd, proofs, alike_all_gates)


def percent(part: float | None) -> str:
    """A part as percent, to a tenth."""
    return "" if part is None else f"{100 * part:.1f} %".replace(".0 %", " %")


def count(number: float | None) -> str:
    """A number without decimals; a dash where there is none."""
    return "—" if number is None else f"{number:,.0f}".replace(",", " ")


def main() -> None:
    """`KEPT.json [--runs N] [--jobs N] [SECTION …]`."""
    path, *rest = sys.argv[1:]
    runs, jobs = (
        int(rest[rest.index(name) + 1]) if name in rest else usual for name, usual in (("--runs", 2000), ("--jobs", 1))
    )
    kept = Kept(Path(path), runs, jobs)
    for section in SECTIONS:
        if any(name in rest for name in {one.__name__ for one in SECTIONS}) and section.__name__ not in rest:
            continue
        rows = list(section(kept))
        print(f"\n{section.__doc__}\n\n| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}", flush=True)
        for row in rows[1:]:
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
