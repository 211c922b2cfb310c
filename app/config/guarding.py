"""The settings of content safety."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.config.templates import TemplateRef
from app.config.terms import Term, TermFile
from app.config.types import Label, Name, Settings, Text

_Category = Literal[
    "hate",
    "sexual",
    "violence",
    "self_harm",
    "jailbreak",
    "indirect_attack",
    "pii",
    "protected_material",
    "ungrounded",
    "blocklist",
]
Category = Annotated[_Category, Label("category")]
Detector = Literal[
    "rules", "pii", "classifier", "jailbreak", "grounded", "azure_content_safety", "openai_moderation", "guard_model"
]
Severity = Literal[2, 4, 6]
Action = Literal["block", "redact", "annotate", "log"]


class Stream(Settings):
    """How a completion is watched while it streams."""

    mode: Literal["strict", "async"] = "strict"
    """`strict` holds text until it is cleared, `async` passes it on and cuts."""
    hold_chars: Annotated[int, Field(ge=1, le=100_000)] = 200
    """Most characters held for model-based detectors; in `async` mode, most that are out before they are cleared."""
    hold_ms: Annotated[int, Field(ge=1, le=60_000)] = 400
    """Longest hold for model-based detectors, in milliseconds."""


class Stage(Settings):
    """What looks at a text, and what a hit does."""

    detectors: Annotated[tuple[Detector, ...], Field(min_length=1)]
    """Members of the ensemble; the strictest result wins."""
    block_at: dict[Category, Severity] = Field(default_factory=dict)
    """Severity from which a category blocks; a plain hit counts as 6."""
    actions: dict[Category, Action] = Field(default_factory=dict)
    """What a hit of a category does."""
    deadline_ms: Annotated[int, Field(ge=1, le=60_000)] = 300
    """How long a detector may take, in milliseconds."""
    on_error: Literal["block", "allow"] = "block"
    """What a failed detector means."""
    safe_text: Text | None = None
    """What is answered in place of what was blocked. Left out: a blocked prompt is an error, a completion just ends."""


class PromptStage(Stage):
    """The guard of prompts."""

    on_timeout: Literal["block", "allow"] = "block"
    """What a late detector means."""


class CompletionStage(Stage):
    """The guard of completions."""

    stream: Stream = Stream()
    """How a completion is watched while it streams."""
    on_timeout: Literal["cut", "pass"] = "cut"
    """What a late detector means."""


class Exemption(Settings):
    """Other thresholds and actions for one tenant. Only who writes this file can grant them."""

    tenant: Name
    """Whose prompts and completions it is about."""
    block_at: dict[Category, Severity] = Field(default_factory=dict)
    """Thresholds in place of those of both stages."""
    actions: dict[Category, Action] = Field(default_factory=dict)
    """Actions in place of those of both stages."""


class Guard(Settings):
    """A policy that models name."""

    name: Name
    """Its name; `default` answers `/v1/moderations` where none is asked for."""
    blocklist: tuple[Term, ...] = ()
    """Terms that `rules` matches in prompts and completions."""
    blocklist_files: tuple[Annotated[TermFile, Label("path")], ...] = ()
    """Files of such terms, one a line; a changed file takes effect like a changed configuration."""
    prompt: PromptStage | None = None
    """What looks at prompts."""
    completion: CompletionStage | None = None
    """What looks at completions."""
    exemptions: tuple[Exemption, ...] = ()
    """Tenants for whom other thresholds and actions hold."""
    restore: bool = True
    """Whether what was redacted in a prompt is put back where the answer repeats its placeholder."""
    safety_prompt: TemplateRef | None = None
    """The template that models with this guard are told, behind their own: prevention beside detection."""
