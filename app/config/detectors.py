"""Where the detectors that are services are, and the model that judges for a guard."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.config.addresses import HttpUrl
from app.config.guarding import Category, Severity
from app.config.secret import Secret
from app.config.types import Label, Name, Settings, Text

AzureCheck = Literal["harm", "attack", "ungrounded", "protected_material"]


class AzureContentSafety(Settings):
    """Azure AI Content Safety."""

    endpoint: HttpUrl
    """The resource's endpoint, for example `https://NAME.cognitiveservices.azure.com`."""
    api_key: Secret
    """Reference to one of its keys."""
    api_version: Text = "2024-09-01"
    """The version of `text:analyze`, `text:shieldPrompt` and `text:detectProtectedMaterial`."""
    groundedness_version: Text = "2024-09-15-preview"
    """The version of `text:detectGroundedness`, which is in preview still."""
    checks: Annotated[tuple[AzureCheck, ...], Field(min_length=1)] = (
        "harm",
        "attack",
        "ungrounded",
        "protected_material",
    )
    """Which of its operations are asked, each a call that Azure bills: `harm` at both stages, `attack` for prompts,
    `protected_material` and, where the request has `documents`, `ungrounded` for completions."""


class OpenAIModeration(Settings):
    """OpenAI's moderation endpoint."""

    base_url: HttpUrl = "https://api.openai.com/v1"
    """The API's address."""
    api_key: Secret
    """Reference to a key."""
    model: Text = "omni-moderation-latest"
    """Its model."""


class GuardModel(Settings):
    """A language model that judges, on a deployment of this gateway; its tokens are the tenant's."""

    model: Name
    """A model of this file. It has no guard of its own."""
    format: Literal["llama_guard", "qwen3guard", "shieldgemma", "granite_guardian"]
    """How it is asked and what it answers."""
    categories: dict[Text, Annotated[Category, Label("category")]] = Field(default_factory=dict)
    """Its own categories (`S2`, `PII`) as ours, beside or in place of those that are mapped already."""
    controversial: Severity = 2
    """What Qwen3Guard's `Controversial` means."""
