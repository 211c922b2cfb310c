"""A conversation in no provider's words: what the translating dialects read out of OpenAI's `messages`."""

from __future__ import annotations

from typing import NamedTuple

from app.exchange import JsonObject


class Text(NamedTuple):
    """A piece of text. `cache` is Anthropic's `cache_control`, where the caller set a breakpoint behind it."""

    text: str
    cache: JsonObject | None = None


class Media(NamedTuple):
    """An image, a document or a sound: `data` in base64 with its `kind` (a media type), or else a `url`."""

    place: str
    kind: str | None
    data: str | None
    url: str | None
    name: str | None = None
    cache: JsonObject | None = None


class Thinking(NamedTuple):
    """What a model thought, signed by its provider; or, with `redacted`, what only the provider can read."""

    text: str
    signature: str
    redacted: str | None = None


class ToolCall(NamedTuple):
    """A call of a tool. `signature` is Gemini's, kept for the next turn."""

    id: str
    name: str
    arguments: JsonObject
    signature: str | None = None
    cache: JsonObject | None = None


class ToolResult(NamedTuple):
    """What a tool answered; `name` is the tool's, found by the call."""

    id: str
    name: str
    content: tuple[Text | Media, ...]
    failed: bool
    cache: JsonObject | None = None


Part = Text | Media | Thinking | ToolCall | ToolResult


class Turn(NamedTuple):
    """What one side said. `role` is system, user or assistant; results of tools are said by the user."""

    role: str
    parts: tuple[Part, ...]
    place: str
