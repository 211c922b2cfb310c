"""Moves rollouts: one process of all acts, by a lease in the store; every other one watches and waits to take over.

Each turn it reads where the rollouts are and what was observed, lets the analysis judge, and writes what follows from
that in one transaction: state, evidence, log. A controller that dies loses what it had not written: then nothing of it
has happened. What a person does through the admin API is a change like its own, made to the version that was seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from app.config import Config
from app.control.analysis import Report
from app.control.lifecycle import Event, State, tick
from app.control.measure import Measurement, News, rows
from app.control.rollout import Ramp, read
from app.control.units import Meeting
from app.control.verdict import Action, Measured, Verdict, event_of, judge
from app.exchange import JsonObject
from app.stores.notes import StoreUnavailable
from app.stores.rollouts import Changed, Entry, Learned, RolloutStore, Stored
from app.telemetry import ROLLOUT_EVIDENCE, ROLLOUT_STATE, ROLLOUT_WEIGHT, UNKNOWN, Metric, Telemetry

EVERY = 0.2
"""Seconds between two turns."""
ASK_EVERY = 1.0
"""Seconds after which one that does not act asks for the lease again, and after which the acting one renews it."""
KEEP_EVERY = 0.5
"""Seconds after which evidence is written, if there is any."""
LONGEST_TICK = 5.0
"""Seconds of a hold that may pass between two turns: a stopped process has not watched anything."""
WHO = "controller"

_log = logging.getLogger("sluicegate")


@dataclass(slots=True)
class _Run:
    """What is held of a rollout that is under way."""

    measurement: Measurement
    run: int
    held: float
    revision: int
    looked: float
    kept: float
    measured: Measured | None = None
    fresh: bool = False
    """Nothing of this run of the rollout is stored yet."""
    batches: set[int] = field(default_factory=set)
    scored: set[str] = field(default_factory=set)


class Controller:
    """`name` is this process's, never used again by another; `clock` is monotonic; `config` gives the running one.

    `wanted` tells whether there is any rollout: without one nobody asks for the lease.
    """

    def __init__(
        self,
        store: RolloutStore,
        telemetry: Telemetry,
        name: str,
        clock: Callable[[], float],
        config: Callable[[], Config],
        wanted: Callable[[], bool],
    ) -> None:
        self._store = store
        self._telemetry = telemetry
        self._name = name
        self._clock = clock
        self._config = config
        self._wanted = wanted
        self._runs: dict[str, _Run] = {}
        self._shown: set[tuple[Metric, str, str]] = set()
        self._fresh: set[tuple[Metric, str, str]] = set()
        """Those of `_shown` that this turn has shown."""
        self._acts = False
        self._asked = float("-inf")

    async def run(self) -> None:
        """Turn after turn, until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.turn()
            except (StoreUnavailable, Changed) as error:
                _log.debug("a turn of the rollout controller was given up", extra={"reason": str(error)})
                self._drop()

    async def aclose(self) -> None:
        """Let another one act at once."""
        if self._acts:
            with contextlib.suppress(StoreUnavailable):  # then the lease runs out by itself
                await self._store.release(self._name)

    async def turn(self) -> None:
        """One look at everything, if this process is the one that acts. Raises StoreUnavailable or Changed."""
        now = self._clock()
        if not self._wanted():
            if self._acts:
                await self._store.release(self._name)
                self._acts = False
                self._drop()
            return
        if now - self._asked >= ASK_EVERY:
            self._asked = now
            acts = await self._store.lease(self._name)
            if acts != self._acts:
                _log.info("rollout controller", extra={"acts": acts})
                self._acts = acts
                self._drop()
        if not self._acts:
            return
        found = {stored.model: stored for stored in await self._store.all()}
        self._fresh = set()
        for model, stored in found.items():
            ramp = read(model, stored.document)
            self._show(ramp)
            if ramp.active:
                await self._step(stored, ramp)
            else:
                self._runs.pop(model, None)
        self._hide(self._shown - self._fresh)
        self._shown = self._fresh

    async def _step(self, stored: Stored, ramp: Ramp) -> None:
        run = self._runs.get(ramp.model)
        if run is None or run.run != ramp.run:
            run = self._runs[ramp.model] = await self._resume(ramp)
        now = self._clock()
        measurement = run.measurement
        if ramp.progress.revision != run.revision:
            run.held, run.revision = ramp.progress.held_s, ramp.progress.revision
        measurement.follow(ramp.progress, ramp.weight)
        await self._take(run, ramp, now)
        ticked = tick(replace(ramp.progress, held_s=run.held), now - run.looked, LONGEST_TICK)
        run.looked, run.held = now, ticked.held_s
        run.measured = measured = measurement.look(now)
        self._show_evidence(ramp.model, measured.gates)
        verdict = judge(ramp.policy, ticked, measured)
        if not verdict.alarm:
            verdict = self._missing(ramp) or verdict
        event = event_of(ramp.policy, verdict)
        if event is not None and not (event is Event.STOPPED and ramp.progress.reason == verdict.reason):
            await self._decide(stored, replace(ramp, progress=ticked), run, event, verdict)
        elif now - run.kept >= KEEP_EVERY:
            learned = self._learned(ramp, run)
            await self._store.learn(self._name, ramp.model, learned)
            self._written(run, now)

    def _missing(self, ramp: Ramp) -> Verdict | None:
        """A rollout whose deployments the configuration does not have any more cannot go on."""
        known = {one.name for one in self._config().deployments}
        gone = [name for name in (ramp.stable, ramp.candidate) if name not in known]
        model = next((one for one in self._config().models if one.name == ramp.model), None)
        if model is None:
            text = f"the model {ramp.model} is not in the configuration"
        elif gone:
            text = f"not in the configuration: {', '.join(gone)}"
        elif model.stable != ramp.stable:
            text = f"the configuration has {model.stable} as stable, the rollout began with {ramp.stable}"
        else:
            return None
        return Verdict(Action.PAUSE, text)

    async def _decide(self, stored: Stored, ramp: Ramp, run: _Run, event: Event, verdict: Verdict) -> None:
        after = ramp.after(event, verdict.reason, alarm=verdict.alarm)
        entry = Entry(
            who=WHO,
            event=event,
            before=(ramp.progress.state, ramp.weight),
            after=(after.progress.state, after.weight),
            reason=verdict.reason,
            evidence=[report_document(report) for report in run.measured.gates] if run.measured is not None else [],
        )
        await self._store.decide(self._name, stored, after.document(), entry, self._learned(ramp, run))
        self._written(run, self._clock())
        told = {"model": ramp.model, "state": str(after.progress.state), "weight": after.weight}
        _log.warning("rollout", extra={**told, "what": str(event), "reason": verdict.reason})

    async def _resume(self, ramp: Ramp) -> _Run:
        """Continue where the last controller wrote."""
        now = self._clock()
        measurement = Measurement(ramp.policy, ramp.asked.horizon, heeds_scores=ramp.heeds_scores)
        run = _Run(measurement, ramp.run, ramp.progress.held_s, ramp.progress.revision, now, now)
        kept = await self._store.evidence(ramp.model)
        if kept is None or kept["run"] != ramp.run:
            run.fresh = True
            return run
        units = await self._store.units(ramp.model)
        measurement.restore(kept["measurement"], ramp.progress, units)
        if kept["revision"] == ramp.progress.revision:
            run.held = kept["held_s"]
        return run

    async def _take(self, run: _Run, ramp: Ramp, now: float) -> None:
        for number, batch in await self._store.batches(ramp.model, run.batches):
            if not run.measurement.take(batch, now):
                break
            run.batches.add(number)
        if ramp.heeds_scores:
            for one in await self._store.scores(ramp.model, run.scored):
                meeting = Meeting(one.unit, one.epoch, one.cohort)
                run.measurement.score(one.request_id, meeting, one.score, now, candidate=one.candidate)
                run.scored.add(one.request_id)

    def _learned(self, ramp: Ramp, run: _Run) -> Learned:
        news = run.measurement.news
        document: JsonObject = {"run": ramp.run, "revision": run.revision, "held_s": run.held}
        document["measurement"] = run.measurement.state()
        document["gates"] = [report_document(one) for one in run.measured.gates] if run.measured is not None else []
        return Learned(
            evidence=document,
            batches=tuple(run.batches),
            units=rows(news.units),
            answers=news.answers,
            scored=tuple(run.scored),
            forget=run.fresh,
        )

    def _written(self, run: _Run, now: float) -> None:
        run.kept = now
        run.fresh = False
        run.batches.clear()
        run.scored.clear()
        run.measurement.news = News()

    def _drop(self) -> None:
        """What was not written has not happened; another process shows what it knows."""
        self._runs.clear()
        self._hide(self._shown)
        self._shown = set()

    def _hide(self, gauges: set[tuple[Metric, str, str]]) -> None:
        for metric, *labels in gauges:
            self._telemetry.gauge(metric, *labels).set(UNKNOWN)

    def _show(self, ramp: Ramp) -> None:
        for state in State:
            self._gauge(ramp.progress.state is state, ROLLOUT_STATE, ramp.model, state)
        for deployment, weight in ((ramp.stable, 100.0 - ramp.weight), (ramp.candidate, ramp.weight)):
            self._gauge(weight, ROLLOUT_WEIGHT, ramp.model, deployment)

    def _show_evidence(self, model: str, reports: Sequence[Report]) -> None:
        for report in reports:
            self._gauge(report.evidence, ROLLOUT_EVIDENCE, model, report.gate)

    def _gauge(self, value: float, metric: Metric, model: str, label: str) -> None:
        self._telemetry.gauge(metric, model, label).set(value)
        self._shown.add((metric, model, label))
        self._fresh.add((metric, model, label))


def report_document(report: Report) -> JsonObject:
    """What one gate knows, as it stands in the log."""
    seen = report.seen
    return {
        "gate": str(report.gate),
        "evidence": report.evidence,
        "peak": report.peak,
        "needed": report.needed,
        "alarm": report.alarm,
        "stable": seen.stable,
        "stable_bad": seen.stable_bad,
        "candidate": seen.candidate,
        "candidate_bad": seen.candidate_bad,
        **({} if report.proved is None else {"proved": report.proved}),
    }
