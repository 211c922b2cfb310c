"""The members of an ensemble that a model answers for: each asks the detector process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.safety.detector import OPERATORS, Finding, Inspection, Passage
from app.safety.models.client import Client

CATEGORIES: dict[str, frozenset[str]] = {
    "classifier": frozenset({"hate", "sexual", "violence", "self_harm"}),
    "jailbreak": frozenset({"jailbreak", "indirect_attack"}),
    "grounded": frozenset({"ungrounded"}),
}
"""What each of them can find."""


@dataclass(frozen=True, slots=True)
class ModelDetector:
    """One member. `within` is how long an answer is of use to anybody, in seconds."""

    name: str
    client: Client
    within: float = 5.0
    categories: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "categories", CATEGORIES[self.name])

    async def check(self, inspection: Inspection) -> Sequence[Finding]:
        """Ask, unless there is nothing that this member looks at."""
        wanted = {
            "classifier": _written_by_others,
            "jailbreak": _attackable,
            "grounded": _to_be_grounded,
        }[self.name](inspection)
        if not any(passage.text for passage in wanted):
            return ()
        return await self.client.ask(self.name, self.within, inspection._replace(passages=wanted, tenant="-"))


def _blank(passage: Passage) -> Passage:
    """The passage without its text: the others keep their numbers."""
    return Passage("", passage.role)


def _written_by_others(inspection: Inspection) -> tuple[Passage, ...]:
    return tuple(_blank(one) if one.role in OPERATORS else one for one in inspection.passages)


def _attackable(inspection: Inspection) -> tuple[Passage, ...]:
    if inspection.stage == "completion":
        return ()
    return tuple(_blank(one) if one.role in OPERATORS | {"assistant"} else one for one in inspection.passages)


def _to_be_grounded(inspection: Inspection) -> tuple[Passage, ...]:
    return inspection.passages if inspection.stage == "completion" and inspection.documents else ()
