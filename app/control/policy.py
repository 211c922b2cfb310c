"""What an operator asks of a rollout: steps, gates, the chance of a false alarm, and what happens on one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.config.models import Rollout

PATIENCE_S = 86_400.0
"""How long a step may wait at least for enough data; three times its hold where that is longer."""


class Bad(StrEnum):
    """The bad events that a gate may watch; the values stand in config."""

    ERROR = "error"
    SLOW_FIRST_TOKEN = "slow_first_token"  # noqa: S105 - an event, no credential
    SLOW_TOTAL = "slow_total"
    HARM = "harm"
    REFUSAL = "refusal"
    COST = "cost"
    TRUNCATED = "truncated"
    BAD_FORMAT = "bad_format"
    LOW_QUALITY = "low_quality"


class OnFailure(StrEnum):
    """What an alarm does."""

    ROLLBACK = "rollback"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Gate:
    """One kind of bad event, tested for being more frequent in the candidate.

    `share` is this gate's part of the policy's α; None takes the default of its kind. `margin` is the difference in the
    rate of bad units that is still acceptable, 0.01 for one point. With `prove`, promotion waits until it is shown that
    the candidate is not worse by `margin` or more. The slow gates take their threshold in `seconds`, or as `quantile`
    of stable's times in earlier blocks; `cost` takes `over_usd` per request, `low_quality` the score that is `below`.
    """

    kind: Bad
    share: float | None = None
    margin: float = 0.0
    prove: bool = False
    seconds: float | None = None
    quantile: float | None = None
    over_usd: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be tested."""
        if not 0 <= self.margin < 1:
            raise ValueError(f"{self.kind}: margin must be at least 0 and below 1, not {self.margin}")
        if self.prove and not self.margin:
            raise ValueError(f"{self.kind}: prove needs a margin: equality can never be shown")
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError(f"{self.kind}: share must be above 0 and at most 1, not {self.share}")
        self._check_threshold()

    def _check_threshold(self) -> None:
        slow = self.kind in (Bad.SLOW_FIRST_TOKEN, Bad.SLOW_TOTAL)
        needs = {Bad.COST: self.over_usd, Bad.LOW_QUALITY: self.below}
        if slow and (self.seconds is None) == (self.quantile is None):
            raise ValueError(f"{self.kind}: give either seconds or quantile")
        if self.quantile is not None and not 0 < self.quantile < 1:
            raise ValueError(f"{self.kind}: quantile must be between 0 and 1, not {self.quantile}")
        if self.kind in needs and needs[self.kind] is None:
            raise ValueError(f"{self.kind}: {'over_usd' if self.kind is Bad.COST else 'below'} is missing")


@dataclass(frozen=True, slots=True)
class Step:
    """A weight (percent to the candidate) and what must be seen there.

    The step is passed after `hold_s` seconds, `min_requests` requests that the candidate answered and no alarm. If that
    takes longer than `patience_s`, the rollout pauses as inconclusive.
    """

    weight: float
    hold_s: float = 600.0
    min_requests: int = 200
    patience_s: float = PATIENCE_S

    def __post_init__(self) -> None:
        """Refuse a step that nothing can pass."""
        if not 0 < self.weight <= 100:
            raise ValueError(f"a step's weight must be above 0 and at most 100, not {self.weight}")
        if not 0 <= self.hold_s <= self.patience_s:
            raise ValueError(
                f"a step's patience ({self.patience_s} s) must not be shorter than its hold ({self.hold_s} s)"
            )


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole rollout. `min_units`: fewer observed units than this in an arm that has traffic are inconclusive."""

    steps: tuple[Step, ...]
    gates: tuple[Gate, ...]
    alpha: float = 0.05
    auto: bool = True
    on_failure: OnFailure = OnFailure.ROLLBACK
    min_units: int = 20

    def __post_init__(self) -> None:
        """Refuse a policy that promises nothing."""
        if not self.steps or not self.gates:
            raise ValueError("a rollout needs at least one step and one gate")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must be between 0 and 1, not {self.alpha}")
        if len({gate.kind for gate in self.gates}) < len(self.gates):
            raise ValueError("each kind of gate may be given once")
        if any(after.weight <= before.weight for before, after in zip(self.steps, self.steps[1:], strict=False)):
            raise ValueError("the steps' weights must rise")
        shares(self.gates)


def shares(gates: Sequence[Gate]) -> tuple[float, ...]:
    """How α is divided: the gates' own shares, and for the others what is left, by the default weights.

    By default error weighs 0.5 and harm 0.2, all others together 0.3; what is not used by absent gates goes to those
    present in proportion, so one gate alone has all. Errors: ValueError if the given shares leave nothing for the rest.
    """
    rest = sum(gate.kind not in (Bad.ERROR, Bad.HARM) for gate in gates)
    weights = [{Bad.ERROR: 0.5, Bad.HARM: 0.2}.get(gate.kind, 0.3 / max(rest, 1)) for gate in gates]
    given = sum(gate.share or 0.0 for gate in gates)
    open_weight = sum(weight for gate, weight in zip(gates, weights, strict=True) if gate.share is None)
    if given > 1 + 1e-9 or (open_weight and given > 1 - 1e-9):
        raise ValueError(f"the gates' shares of alpha add up to {given:g}")
    left = (1 - given) / open_weight if open_weight else 0.0
    return tuple(gate.share or weight * left for gate, weight in zip(gates, weights, strict=True))


def policy_of(rollout: Rollout) -> Policy:
    """What a rollout's settings ask for. Gates and their settings have the same names there and here."""
    gates = rollout.gates.model_dump(mode="json", exclude_none=True)
    return Policy(
        steps=tuple(
            Step(step.weight, step.hold, step.min_requests, rollout.patience or max(PATIENCE_S, 3 * step.hold))
            for step in rollout.steps
        ),
        gates=tuple(Gate(Bad(kind), **settings) for kind, settings in gates.items()),
        alpha=rollout.alpha,
        auto=rollout.mode == "auto",
        on_failure=OnFailure(rollout.on_failure),
    )
