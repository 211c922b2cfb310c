"""What a guard does about what was found: thresholds, actions, and the findings in the shape that Azure gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from app.exchange import JsonObject

BLOCK: Final = "block"
REDACT: Final = "redact"
ANNOTATE: Final = "annotate"
LOG: Final = "log"
STRICTNESS: Final = (LOG, ANNOTATE, REDACT, BLOCK)
DEFAULT_BLOCK_AT: Final = 4
"""From what severity on a category acts whose threshold is not set."""

LEVELLED: Final = ("hate", "sexual", "violence", "self_harm")
CATEGORIES: Final = (
    *LEVELLED, "jailbreak", "indirect_attack", "pii", "protected_material", "ungrounded", "blocklist",
)  # fmt: skip
_AZURE: Final = {
    "pii": "personally_identifiable_information",
    "protected_material": "protected_material_text",
    "ungrounded": "ungrounded_material",
    "blocklist": "custom_blocklists",
}
_LEVELS: Final = {0: "safe", 2: "low", 4: "medium", 6: "high"}

Stage = Literal["prompt", "completion"]


class Actions:
    """Thresholds and actions of one stage, as they hold for one tenant."""

    __slots__ = ("_actions", "_block_at", "annotates", "of_hits", "stage")

    def __init__(self, stage: Stage, block_at: Mapping[str, int], actions: Mapping[str, str]) -> None:
        self.stage = stage
        self._block_at = dict(block_at)
        self._actions = dict(actions)
        self.annotates = ANNOTATE in self._actions.values()
        self.of_hits = {name: action for name in CATEGORIES if (action := self.of(name, 6)) is not None}
        """What a plain hit of each category does."""

    def of(self, category: str, severity: int) -> str | None:
        """What is done about a finding; None where it is below the threshold."""
        if severity < self._block_at.get(category, DEFAULT_BLOCK_AT):
            return None
        return self._actions.get(category, BLOCK)


def results(
    severities: Mapping[str, int], filtered: Iterable[str], looked_for: Iterable[str], *, unsure: bool = False
) -> JsonObject:
    """`content_filter_results` as Azure OpenAI gives it: a level for harms, a flag for everything else."""
    blocked = frozenset(filtered)
    shown: JsonObject = {}
    for category in looked_for:
        severity = severities.get(category, 0)
        result: JsonObject = {"filtered": category in blocked}
        if category in LEVELLED:
            result["severity"] = _LEVELS[severity]
        else:
            result["detected"] = severity > 0
        shown[_AZURE.get(category, category)] = result
    if unsure:
        shown["error"] = {"code": "content_filter_error", "message": "A detector gave no verdict."}
    return shown
