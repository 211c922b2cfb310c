"""Rollouts as one process sees them: keeps the store's weights in the running table, and does what a person asks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from app.config import Config
from app.control.lifecycle import OVER, Event, Refused
from app.control.rollout import Ramp, differences, read, started
from app.exchange import JsonObject
from app.stores.notes import StoreUnavailable
from app.stores.rollouts import Changed, Entry, RolloutStore, Stored
from app.table import Live

EVERY = 0.25
"""Seconds between two looks: a weight that has changed anywhere is in force here well within a second."""
_TRIES = 5
"""The controller writes too: a change that came too late is made again to what it wrote."""
_log = logging.getLogger("sluicegate")


class Rollouts:
    """Watches the store; `apply` is called when what it says has changed. `config` gives the running configuration.

    `lives` is None until the store was read for the first time. While it cannot be read, what was known stays in force.
    """

    def __init__(self, store: RolloutStore, config: Callable[[], Config], apply: Callable[[], None]) -> None:
        self.lives: Mapping[str, Live] | None = None
        self._store = store
        self._config = config
        self._apply = apply
        self._version = -1
        self._ramps: list[Ramp] = []
        self._told: set[str] = set()

    @property
    def any(self) -> bool:
        """Whether there is a rollout, under way or over."""
        return bool(self._ramps)

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.refresh()
            except StoreUnavailable:
                pass  # told by the ledger's delivery, which needs the same database
            except (ValueError, KeyError, TypeError) as error:
                _log.error("stored rollouts cannot be read", extra={"reason": str(error)})
            await asyncio.sleep(EVERY)

    async def refresh(self) -> None:
        """Look now. Raises StoreUnavailable."""
        version = await self._store.version()
        if version != self._version:
            self._ramps = [read(one.model, one.document) for one in await self._store.all()]
            self.lives = {ramp.model: ramp.live() for ramp in self._ramps}
            self._version = version
            self._apply()
            self.warn()

    def warn(self) -> None:
        """Say what the configuration asks for in vain while a rollout is under way; each thing once."""
        config = self._config()
        found = {f"{ramp.model}: {text}" for ramp in self._ramps for text in differences(config, ramp)}
        for text in sorted(found - self._told):
            _log.warning("the rollout goes on: the configuration differs and waits", extra={"reason": text})
        self._told = found

    # --- what a person asks -------------------------------------------------------------------------------

    async def start(self, who: str, model: str, asked: Mapping[str, Any], reason: str) -> JsonObject:
        """Begin a rollout at its first step. Raises Refused, ConfigError, ValueError, StoreUnavailable."""
        return await self._change(
            who, model, Event.START, lambda before: started(self._config(), model, before, asked, reason), reason
        )

    async def act(self, who: str, model: str, event: str, reason: str, hand_weight: float | None = None) -> JsonObject:
        """Do something with a rollout that is under way. Raises Refused, StoreUnavailable."""
        asked = Event(event)

        def next_of(before: Ramp | None) -> Ramp:
            if before is None:
                raise Refused(f"The model `{model[:64]}` has no rollout.")
            return before.after(asked, reason, hand_weight=hand_weight)

        return await self._change(who, model, asked, next_of, reason)

    async def show(self, model: str, limit: int = 100) -> JsonObject:
        """Everything that is known of a rollout. Raises Refused where there is none, StoreUnavailable."""
        stored = await self._store.get(model)
        if not stored.version:
            raise Refused(f"The model `{model[:64]}` has no rollout.")
        return {**await self._shown(stored), "log": await self._store.log(model, limit)}

    async def list(self) -> list[JsonObject]:
        """All rollouts. Raises StoreUnavailable."""
        return [await self._shown(stored) for stored in await self._store.all()]

    async def _shown(self, stored: Stored) -> JsonObject:
        ramp = read(stored.model, stored.document)
        kept = await self._store.evidence(stored.model)
        known = kept is not None and kept["run"] == ramp.run
        same = known and kept is not None and kept["revision"] == ramp.progress.revision
        progress = ramp.progress
        document: JsonObject = {
            "model": ramp.model,
            "stable": ramp.stable,
            "candidate": ramp.candidate,
            "state": str(progress.state),
            "weight": ramp.weight,
            "step": progress.step,
            "steps": [step.weight for step in ramp.policy.steps],
            "held_s": kept["held_s"] if same and kept is not None else progress.held_s,
            "alarmed": progress.alarmed,
            "reason": progress.reason,
            "run": ramp.run,
            "attempt": progress.attempt,
            "epoch": progress.epoch,
            "revision": progress.revision,
            "settings": ramp.settings,
            "gates": kept["gates"] if known and kept is not None else [],
        }
        if known and kept is not None:
            document["seen"] = kept["measurement"]["step"]
            document["skipped"] = kept["measurement"]["skipped"]
        return document

    async def _change(
        self, who: str, model: str, event: Event, change: Callable[[Ramp | None], Ramp], reason: str
    ) -> JsonObject:
        for _ in range(_TRIES):
            stored = await self._store.get(model)
            before = read(model, stored.document) if stored.version else None
            after = change(before)
            was = (before.progress.state, before.weight) if before is not None else ("idle", 0.0)
            kept = await self._store.evidence(model)
            evidence = kept["gates"] if kept is not None and before is not None and kept["run"] == before.run else []
            if before is not None and before.progress.state in OVER:
                evidence = []
            entry = Entry(who, event, was, (after.progress.state, after.weight), reason, evidence)
            try:
                await self._store.change(stored, after.document(), entry)
            except Changed:
                continue
            await self.refresh()
            return await self._shown(await self._store.get(model))
        raise Refused(f"The rollout of `{model}` keeps changing. Look at it, and try again.")
