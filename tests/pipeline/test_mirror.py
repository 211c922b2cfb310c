"""Which requests are copied: those that were drawn, have a place, and an answer that can be compared."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import Outcome
from app.exchange import Operation, Principal, Wishes
from app.pipeline.mirror import Mirror
from app.pipeline.plan import Plan
from app.pipeline.progress import Progress
from app.pipeline.route import route
from app.table import Shadow, Table
from tests.pipeline.parts import call, table

BUDGET = {"window": "day", "usd": 1}


class Counted:
    """Copies that are counted and not sent."""

    def __init__(self, *, places: bool = True) -> None:
        self.places = places
        self.done: list[str] = []

    def room(self, shadow: Shadow) -> bool:
        """Whether there is a place."""
        self.done.append(f"room {shadow.deployment.name}")
        return self.places

    def leave(self, shadow: Shadow) -> None:
        """It is not needed."""
        self.done.append("leave")

    def send(self, shadow: Shadow, progress: Progress) -> None:
        """The copy goes."""
        self.done.append("send")


def shadowed(sample: float = 1.0, changes: dict[str, Any] | None = None) -> Table:
    """A model whose shadow is `two`."""
    return table({"models[0].shadow": {"to": "two", "sample": sample, "budget": BUDGET}, **(changes or {})})


def planned(built: Table, chance: float = 0.0, **fields: Any) -> Plan:
    """The plan of a request."""
    return route(call(**fields), Principal("team", "ci"), built, chance=chance)


def test_the_share_that_is_copied() -> None:
    """By digits of the random number that draw no arm; a share of 0 copies nothing."""
    draws = [number / 2**40 * 997 % 1.0 for number in range(1, 2**40, 2**40 // 4000)]
    copied = sum(planned(shadowed(0.25), chance).shadow is not None for chance in draws)
    assert abs(copied - len(draws) / 4) < 4 * (len(draws) * 0.25 * 0.75) ** 0.5
    assert planned(shadowed(0.0)).shadow is None
    assert planned(shadowed(1.0), 0.999).shadow is not None


def test_who_is_never_copied() -> None:
    """A tenant that does not want it, who pins, what the shadow does not speak, and what it serves itself."""
    wanted = route(call(), Principal("team", "ci", shadow=False), shadowed())
    assert wanted.shadow is None
    assert route(call(), Principal("team", "ci", pin=True), shadowed(), Wishes(pin="one")).shadow is None
    anthropic = shadowed(changes={"deployments[1].provider": "anthropic"})
    assert route(call(Operation.EMBEDDINGS), Principal("team", "ci"), anthropic).shadow is None
    assert route(call(), Principal("team", "ci"), anthropic).shadow is not None
    candidate = shadowed(changes={"models[0].candidate": "two", "models[0].weight": 100})
    assert planned(candidate).shadow is None


def ended(outcome: Outcome, *, served: str = "one", places: bool = True) -> list[str]:
    """What is done for a request that ended so."""
    built, copies = shadowed(), Counted(places=places)
    plan, progress = planned(built), Progress("req_1", Operation.CHAT)
    progress.deployment = built.deployments[served]
    Mirror(copies).begin(progress, plan)
    assert (progress.transcript is not None) == places
    progress.outcome = outcome
    Mirror(copies).end(progress)
    return copies.done


@pytest.mark.parametrize("outcome", list(Outcome))
def test_what_can_be_compared_is_sent(outcome: Outcome) -> None:
    """An answer, and a failure of the upstream; the place of anything else is given back."""
    told = {Outcome.OK, Outcome.CUT_GUARD, Outcome.UPSTREAM_ERROR, Outcome.UPSTREAM_TIMEOUT}
    assert ended(outcome) == ["room two", "send" if outcome in told else "leave"]


def test_without_a_place_nothing_is_done() -> None:
    """Nor for what the shadow's own deployment answered, as a fallback."""
    assert ended(Outcome.OK, places=False) == ["room two"]
    assert ended(Outcome.OK, served="two") == ["room two", "leave"]


def test_without_a_shadow_nobody_is_asked() -> None:
    """The mirror costs nothing."""
    copies, progress = Counted(), Progress("req_1", Operation.CHAT)
    Mirror(copies).begin(progress, planned(table()))
    Mirror(copies).end(progress)
    assert copies.done == []
