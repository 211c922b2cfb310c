"""From the configuration: what each deployment is told before the caller's own system prompt."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app import config
from app.config import SECTIONS, Config, Template
from app.exchange import Scaffold


class Scaffolding:
    """Puts templates together: a deployment's own or else its model's, then that of the model's guard.

    Section by section: grounding, tone, safety, jailbreak, each of all templates, whatever template it stands in.
    """

    def __init__(self, settings: Config) -> None:
        self._templates = {one.label: one for one in settings.templates}
        self._own = {one.name: one.template for one in settings.deployments}
        self._safety = {one.name: one.safety_prompt for one in settings.guards}
        self._made: dict[tuple[str, ...], Scaffold] = {}

    def of(self, model: config.Model) -> Mapping[str, Scaffold] | None:
        """By deployment, for every deployment that may come to serve the model; None where none is told anything."""
        safety = self._safety[model.guard] if model.guard is not None else None
        found = {
            deployment: scaffold
            for deployment, own in self._own.items()
            if (scaffold := self._scaffold(own or model.template, safety)) is not None
        }
        return MappingProxyType(found) if found else None

    def _scaffold(self, *references: str | None) -> Scaffold | None:
        labels = tuple(dict.fromkeys(self._label(name) for name in references if name is not None))
        if not labels:
            return None
        scaffold = self._made.get(labels)
        if scaffold is None:
            scaffold = self._made[labels] = scaffold_of([self._templates[label] for label in labels])
        return scaffold

    def _label(self, reference: str) -> str:
        (label,) = config.named(reference, tuple(self._templates))
        return label


def scaffold_of(templates: list[Template]) -> Scaffold:
    """What a model is told by these templates."""
    texts = dict.fromkeys(text for section in SECTIONS for one in templates if (text := getattr(one, section)))
    return Scaffold("+".join(one.label for one in templates), "\n\n".join(texts))
