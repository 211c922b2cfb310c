"""A conversation as Anthropic's `system` and `messages`."""

from __future__ import annotations

from typing import Any

from app.errors import refused
from app.exchange import JsonObject
from app.providers.parts import Media, Part, Text, Thinking, ToolCall, ToolResult, Turn

_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


def split(conversation: list[Turn]) -> tuple[Any, list[JsonObject]]:
    """`system` (a string, blocks, or None) and `messages`. A system turn further down stays in its place."""
    system: Any = None
    messages: list[JsonObject] = []
    for turn in conversation:
        if turn.role == "system" and not messages:
            system = _content(turn)
        else:
            messages.append({"role": turn.role, "content": _content(turn)})
    if not messages:
        raise refused("messages", "`messages` must hold a turn of the user's.")
    return system, messages


def _content(turn: Turn) -> Any:
    """One plain text as a string, everything else as blocks."""
    parts = turn.parts
    if len(parts) == 1 and type(parts[0]) is Text and parts[0].cache is None:
        return parts[0].text
    return [_block(part, turn) for part in parts]


def _block(part: Part, turn: Turn) -> JsonObject:
    match part:
        case Text(text, cache):
            return _cached({"type": "text", "text": text}, cache)
        case Media():
            if turn.role == "system":
                raise refused(part.place, f"`{part.place}` stands in a system message, which holds text alone.")
            return _media(part)
        case Thinking(text, signature, redacted):
            if redacted is not None:
                return {"type": "redacted_thinking", "data": redacted}
            return {"type": "thinking", "thinking": text, "signature": signature}
        case ToolCall():
            block = {"type": "tool_use", "id": part.id, "name": part.name, "input": part.arguments}
            return _cached(block, part.cache)
        case ToolResult():
            return _result(part, turn)


def _result(part: ToolResult, turn: Turn) -> JsonObject:
    block: JsonObject = {"type": "tool_result", "tool_use_id": part.id}
    if len(part.content) == 1 and type(part.content[0]) is Text and part.content[0].cache is None:
        block["content"] = part.content[0].text
    elif part.content:
        block["content"] = [_block(inner, turn) for inner in part.content]
    if part.failed:
        block["is_error"] = True
    return _cached(block, part.cache)


def _media(part: Media) -> JsonObject:
    if part.data is None:
        url: JsonObject = {"type": "url", "url": part.url}
        return _cached({"type": "document" if part.name else "image", "source": url}, part.cache)
    if part.kind not in _IMAGES and part.kind != "application/pdf":
        kinds = ", ".join(sorted(_IMAGES))
        raise refused(part.place, f"`{part.place}` is `{part.kind}`; provider `anthropic` takes {kinds} and PDF.")
    source = {"type": "base64", "media_type": part.kind, "data": part.data}
    if part.kind in _IMAGES:
        return _cached({"type": "image", "source": source}, part.cache)
    named = {"title": part.name} if part.name else {}
    return _cached({"type": "document", "source": source, **named}, part.cache)


def _cached(block: JsonObject, cache: JsonObject | None) -> JsonObject:
    if cache is not None:
        block["cache_control"] = cache
    return block
