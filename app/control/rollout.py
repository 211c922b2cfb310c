"""One model's rollout as a value: what was asked for, and where it is. To and from the store's document. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import orjson

from app.config import Config, Rollout, parse_rollout
from app.control.lifecycle import ACTIVE, OVER, Event, Progress, Refused, State, apply, weight
from app.control.policy import Bad, Policy, policy_of
from app.exchange import JsonObject
from app.table import Live, Watch

_READS = frozenset({Bad.REFUSAL, Bad.TRUNCATED, Bad.BAD_FORMAT})
"""Gates that ask what an answer says."""


@dataclass(frozen=True)
class Ramp:
    """A rollout of one model. `run` counts its starts; `settings` are those of `models[].rollout`, as JSON."""

    model: str
    stable: str
    candidate: str
    sticky: Literal["user", "key", "none"]
    run: int
    settings: JsonObject
    progress: Progress

    @cached_property
    def asked(self) -> Rollout:
        """The settings, typed."""
        return parse_rollout(orjson.dumps(self.settings).decode())

    @cached_property
    def policy(self) -> Policy:
        """What they ask for."""
        return policy_of(self.asked)

    @property
    def active(self) -> bool:
        """Whether it is under way."""
        return self.progress.state in ACTIVE

    @property
    def weight(self) -> float:
        """The candidate's percent."""
        return weight(self.policy, self.progress)

    @property
    def heeds_scores(self) -> bool:
        """Whether feedback counts."""
        return any(gate.kind is Bad.LOW_QUALITY for gate in self.policy.gates)

    def after(self, event: Event, reason: str, *, alarm: bool = False, hand_weight: float | None = None) -> Ramp:
        """The rollout after an event. Raises Refused."""
        progress = apply(self.policy, self.progress, event, reason, alarm=alarm, hand_weight=hand_weight)
        return replace(self, progress=progress)

    def live(self) -> Live:
        """What the routing table needs of it."""
        reads = any(gate.kind in _READS for gate in self.policy.gates)
        watch = Watch(self.model, self.progress.epoch, self.asked.horizon, reads)
        return Live(self.stable, self.candidate, self.weight, self.sticky, self.run, self.active, watch)

    def document(self) -> JsonObject:
        """As it is stored."""
        kept: JsonObject = {name: getattr(self, name) for name in _NAMES}
        return {**kept, "progress": asdict(self.progress)}


_NAMES = ("stable", "candidate", "sticky", "run", "settings")


def read(model: str, document: Mapping[str, Any]) -> Ramp:
    """From the store's document."""
    progress = Progress(**{**document["progress"], "state": State(document["progress"]["state"])})
    return Ramp(model=model, **{name: document[name] for name in _NAMES}, progress=progress)


def started(config: Config, model: str, before: Ramp | None, asked: Mapping[str, Any], reason: str) -> Ramp:
    """A rollout of `model` at its first step.

    `asked` may name the `candidate` and give `rollout` settings; what it leaves out is the configuration's. Raises
    Refused, ConfigError or ValueError, in words for whoever asked.
    """
    found = next((one for one in config.models if one.name == model), None)
    if found is None:
        raise Refused(f"There is no model `{model[:64]}`.")
    if before is not None and before.progress.state not in OVER:
        raise Refused(f"The model `{model}` has a rollout already; it is {before.progress.state}.")
    candidate = asked.get("candidate") or found.candidate
    if candidate is None:
        raise Refused(f"The model `{model}` has no candidate. Name one, or write it into the configuration.")
    if candidate not in {one.name for one in config.deployments}:
        raise Refused(f"There is no deployment `{str(candidate)[:64]}`.")
    if candidate == found.stable:
        raise Refused(f"`{candidate}` is the stable deployment itself.")
    settings = asked.get("rollout")
    if settings is None:
        if found.rollout is None:
            raise Refused(f"The model `{model}` has no `rollout` in the configuration. Send its settings.")
        settings = found.rollout.model_dump(mode="json", exclude_none=True)
    ramp = Ramp(
        model=model,
        stable=found.stable,
        candidate=candidate,
        sticky=found.sticky,
        run=before.run + 1 if before is not None else 1,
        settings=dict(settings),
        progress=before.progress if before is not None else Progress(),
    )
    return ramp.after(Event.START, reason)


def differences(config: Config, ramp: Ramp) -> list[str]:
    """What the configuration asks for otherwise than a rollout that is under way: it has no effect meanwhile."""
    found = next((one for one in config.models if one.name == ramp.model), None)
    if found is None or not ramp.active:
        return []
    told = []
    if found.candidate is not None and found.candidate != ramp.candidate:
        told.append(f"candidate {found.candidate}, the rollout has {ramp.candidate}")
    if found.stable != ramp.stable:
        told.append(f"stable {found.stable}, the rollout began with {ramp.stable}")
    if found.weight is not None and found.candidate is not None and found.weight != ramp.weight:
        told.append(f"weight {found.weight:g}, the rollout is at {ramp.weight:g}")
    if found.sticky != ramp.sticky:
        told.append(f"sticky {found.sticky}, the rollout began with {ramp.sticky}")
    if found.rollout is not None and found.rollout != ramp.asked:
        told.append("other settings of the rollout: they hold for the next one")
    return told
