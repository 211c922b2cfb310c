"""The detectors that are services, as guards name them: they follow the configuration that is in force."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from app.config import Config
from app.pipeline.call import Transport
from app.safety.detector import Detector, DetectorFailure, Finding, Inspection
from app.safety.remote.azure import Azure
from app.safety.remote.guard_model import Judge
from app.safety.remote.moderation import Moderation

_HARMS: Final = frozenset({"hate", "sexual", "violence", "self_harm"})
CATEGORIES: Final[Mapping[str, frozenset[str]]] = {
    "azure_content_safety": _HARMS | {"jailbreak", "indirect_attack", "ungrounded", "protected_material"},
    "openai_moderation": _HARMS,
    "guard_model": _HARMS | {"jailbreak", "pii", "protected_material", "ungrounded"},
}
"""What each of them can find."""


class RemoteDetector:
    """One member. What asks is made anew when its settings change."""

    def __init__(self, name: str, config: Callable[[], Config], make: Callable[[Any], Any]) -> None:
        self.name = name
        self.categories = CATEGORIES[name]
        self._config = config
        self._make = make
        self._settings: object = None
        self._asks: Any = None

    async def check(self, inspection: Inspection) -> Sequence[Finding]:
        """What it finds. Raises `DetectorFailure`."""
        settings = getattr(self._config().safety, self.name)
        if settings is None:
            raise DetectorFailure(f"{self.name} is not set up")
        if settings is not self._settings:
            self._settings, self._asks = settings, self._make(settings)
        found: Sequence[Finding] = await self._asks.check(inspection)
        return found


def members(config: Callable[[], Config], transport: Transport) -> dict[str, Detector]:
    """All of them, by name."""
    makers: dict[str, Callable[[Any], Any]] = {
        "azure_content_safety": lambda settings: Azure(settings, transport),
        "openai_moderation": lambda settings: Moderation(settings, transport),
        "guard_model": Judge,
    }
    return {name: RemoteDetector(name, config, make) for name, make in makers.items()}
