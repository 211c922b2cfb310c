"""The settings of prompt templates: what models are told before the caller's own system prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import BeforeValidator, Field

from app.config.problems import wrong
from app.config.types import Label, Settings

SECTIONS = ("grounding", "tone", "safety", "jailbreak")
"""The parts of a template, in the order in which a model reads them."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,63}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,31}")
_REFERENCE = re.compile(rf"{_NAME.pattern}(@{_VERSION.pattern})?")


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise wrong(
            "is not a template's name", "Use 1 to 64 of `A-Z a-z 0-9 . _ : / + -`; `@` stands before a version."
        )
    return value


def _version(value: object) -> str:
    text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _VERSION.fullmatch(text):
        raise wrong("is not a version", "For example `3`, `1.2` or `2026-11-27`: 1 to 32 of `A-Z a-z 0-9 . _ + -`.")
    return text


def _reference(value: object) -> str:
    if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
        raise wrong("does not name a template", "Write its name, or `name@version`.")
    return value


def _section(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not text:
        raise wrong("must be text", "Leave it out where there is nothing to say; `|` begins text of several lines.")
    return text


Section = Annotated[str, BeforeValidator(_section), Field(max_length=50_000), Label("text")]
TemplateRef = Annotated[str, BeforeValidator(_reference), Label("template")]
"""A template by its name where it has one version only, or by `name@version`."""


class Template(Settings):
    """What models are told before the caller's own system prompt."""

    name: Annotated[str, BeforeValidator(_name), Label("name")]
    """Its name; several versions share it."""
    version: Annotated[str, BeforeValidator(_version), Label("version")] = "1"
    """Its version: raise it with every change. `name@version` is recorded with each request."""
    grounding: Section | None = None
    """What answers are to rest on, and what to say where that is not enough."""
    tone: Section | None = None
    """How the model speaks, and in what form."""
    safety: Section | None = None
    """What it is not to produce."""
    jailbreak: Section | None = None
    """What it does when somebody tries to talk it out of the rest."""

    @property
    def label(self) -> str:
        """Name and version, as they are recorded."""
        return f"{self.name}@{self.version}"


def label_of(element: object) -> str | None:
    """Name and version of a template as it stands in the file, valid or not; None where it has no name."""
    if not isinstance(element, dict) or not isinstance(element.get("name"), str):
        return None
    return f"{element['name']}@{element.get('version', '1')}"


def named(reference: str, labels: Sequence[str]) -> list[str]:
    """The templates that a reference may mean: one, where it is right."""
    return [label for label in labels if reference in (label, label.rpartition("@")[0])]
