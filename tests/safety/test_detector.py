"""The protocol of detectors: what a member gets and gives."""

from __future__ import annotations

from collections.abc import Sequence

from app.safety.detector import Detector, Finding, Inspection, Passage


class Shouting:
    """A member that finds shouting hateful."""

    name = "shouting"
    categories = frozenset({"hate"})

    async def check(self, inspection: Inspection) -> Sequence[Finding]:
        """One finding for each passage in capitals."""
        return [
            Finding("hate", 2, passage=index) for index, one in enumerate(inspection.passages) if one.text.isupper()
        ]


async def test_a_member_tells_what_it_found_where() -> None:
    """By the index of the passage."""
    member: Detector = Shouting()
    found = await member.check(Inspection("prompt", (Passage("hello", "user"), Passage("HELLO", "tool"))))
    assert found == [Finding("hate", 2, None, 1)]
