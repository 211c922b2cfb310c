"""Which requests are observed: one observation per unit of assignment and weight, among units that can be compared.

With sticky users the user is what was drawn at random, so the user is what may be counted: the requests of one heavy
user all fall into one arm, and counting them as independent gives false alarms in 10 to 39 of 100 rollouts at α = 5 %.
A unit is observed in its first requests after each change of weight, with two exceptions that keep the arms alike:

- who was served by the candidate before is not observed again: which of these users were bad is known by now, and they
  all stay in one arm. Who was served by stable so far is drawn anew when the weight rises: whether he moves depends on
  nothing but his place in the hash.
- who was seen before is compared only with others of his `cohort`: the largest weight at which stable served them. New
  users and those who come back differ in traffic and in rates, and the weight divides them in different proportions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Unit:
    """What must be remembered of a unit during a rollout.

    `epoch` numbers the weights in the order in which they were set; `requests` counts the unit's requests in that
    epoch. `ceiling` is the largest weight at which stable served it before that epoch, `weight` the epoch's own;
    `candidate` and `excluded` tell whether the candidate served it in this epoch, and in an earlier one.
    """

    epoch: int
    weight: float
    requests: int = 1
    ceiling: float = 0.0
    candidate: bool = False
    excluded: bool = False


class Meeting(NamedTuple):
    """One request of a unit: the epoch, the unit's cohort, and the request's number in this epoch, from 1."""

    unit: str
    epoch: int = 0
    cohort: float = 0.0
    number: int = 1


def meet(name: str, known: Unit | None, epoch: int, weight: float, *, candidate: bool) -> tuple[Unit, Meeting | None]:
    """Take note of a request of a unit; the meeting is None where the unit must not be observed."""
    if known is None:
        unit = Unit(epoch, weight, candidate=candidate)
    elif known.epoch == epoch:
        unit = Unit(
            epoch, known.weight, known.requests + 1, known.ceiling, known.candidate or candidate, known.excluded
        )
    else:
        ceiling = max(known.ceiling, known.weight)
        unit = Unit(epoch, weight, 1, ceiling, candidate, known.excluded or known.candidate)
    return unit, None if unit.excluded else Meeting(name, epoch, unit.ceiling, unit.requests)
