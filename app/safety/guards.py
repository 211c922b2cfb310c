"""All guards of a configuration, compiled once per configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from app import config
from app.exchange import Call, JsonObject
from app.pipeline.report import Report
from app.safety.actions import Actions
from app.safety.detector import Detector
from app.safety.moderation import moderate
from app.safety.policy import GuardPolicy
from app.safety.stage import Stage
from app.safety.terms import Lexicon, listed
from app.safety.whole import harmful


class Compiled:
    """One guard: its policy for everybody, and for tenants with an exemption."""

    __slots__ = ("default", "exempt", "settings")

    def __init__(self, settings: config.Guard, members: Mapping[str, Detector]) -> None:
        self.settings = settings
        lexicon = listed([settings])
        self.default = _policy(settings, lexicon, members, None)
        self.exempt: Mapping[str, GuardPolicy] = {
            exemption.tenant: _policy(settings, lexicon, members, exemption) for exemption in settings.exemptions
        }


class Guards:
    """Hands out policies. `prepare` compiles off the event loop what a new configuration brings.

    `members` are the detectors that have to be waited for, by the name that they have in `detectors`.
    """

    def __init__(self, guards: Iterable[config.Guard] = (), members: Mapping[str, Detector] | None = None) -> None:
        self._members = members or {}
        self._current: dict[int, Compiled] = {}
        self._previous: dict[int, Compiled] = {}
        self.prepare(guards)

    def prepare(self, guards: Iterable[config.Guard]) -> None:
        """Compile the guards of a configuration that is about to be in force; those of the last one are kept."""
        fresh = {id(one): Compiled(one, self._members) for one in guards}
        self._previous, self._current = self._current, fresh

    def of(self, settings: config.Guard, tenant: str) -> GuardPolicy:
        """The policy that these settings mean for a tenant."""
        compiled = self._current.get(id(settings)) or self._previous.get(id(settings))
        if compiled is None or compiled.settings is not settings:  # of a table that was made without `prepare`
            compiled = self._current[id(settings)] = Compiled(settings, self._members)
        return compiled.exempt.get(tenant, compiled.default)

    async def moderate(
        self, settings: config.Guard, tenant: str, texts: Sequence[str], report: Report
    ) -> list[JsonObject]:
        """Judge texts as this guard judges prompts; as completions where it looks at no prompts."""
        return await moderate(self.of(settings, tenant).judge, texts, report)

    async def harmful(self, settings: config.Guard, tenant: str, call: Call, texts: Sequence[str]) -> bool | None:
        """Whether this guard would find anything in a completion's texts; None where it looks at none, or cannot tell.

        Nothing comes of it, and nothing is counted.
        """
        stage = self.of(settings, tenant).completion
        return None if stage is None else await harmful(stage, call, texts)


def _policy(
    settings: config.Guard,
    lexicon: Lexicon | None,
    members: Mapping[str, Detector],
    exemption: config.Exemption | None,
) -> GuardPolicy:
    return GuardPolicy(
        settings.name,
        _stage("prompt", settings.prompt, lexicon, members, exemption),
        _stage("completion", settings.completion, lexicon, members, exemption),
        restore=settings.restore,
    )


def _stage(
    name: Literal["prompt", "completion"],
    settings: config.Stage | None,
    lexicon: Lexicon | None,
    members: Mapping[str, Detector],
    exemption: config.Exemption | None,
) -> Stage | None:
    if settings is None:
        return None
    block_at: dict[str, int] = {}
    actions: dict[str, str] = {}
    own: list[config.Stage | config.Exemption] = [settings]
    for one in own if exemption is None else [*own, exemption]:
        block_at.update((str(category), severity) for category, severity in one.block_at.items())
        actions.update((str(category), action) for category, action in one.actions.items())
    return Stage(settings, Actions(name, block_at, actions), lexicon, members)
