"""A conversation as Gemini's `systemInstruction` and `contents`."""

from __future__ import annotations

from mimetypes import guess_type
from typing import Final

from app.errors import refused
from app.exchange import JsonObject
from app.providers.parts import Media, Part, Text, Thinking, ToolCall, ToolResult, Turn

OURS: Final = "call_gemini_"
"""How ids of calls begin that Gemini gave none."""


def split(conversation: list[Turn]) -> tuple[JsonObject | None, list[JsonObject]]:
    """The system instruction and the contents. Gemini has one instruction, so system turns further down join it."""
    system: list[JsonObject] = []
    contents: list[JsonObject] = []
    for turn in conversation:
        parts = [part for one in turn.parts for part in _parts(one, turn)]
        if turn.role == "system":
            system += parts
        elif parts:
            contents.append({"role": "model" if turn.role == "assistant" else "user", "parts": parts})
    if not contents:
        raise refused("messages", "`messages` must hold a turn of the user's.")
    return ({"parts": system} if system else None), contents


def _parts(part: Part, turn: Turn) -> list[JsonObject]:
    match part:
        case Text(text):
            return [{"text": text}]
        case Media():
            if turn.role == "system":
                raise refused(part.place, f"`{part.place}` stands in a system message, which holds text alone.")
            return [_media(part)]
        case Thinking():
            return []  # Anthropic's: nobody else can read its signature
        case ToolCall():
            call: JsonObject = {"functionCall": {**_id(part.id), "name": part.name, "args": part.arguments}}
            if part.signature is not None:
                call["thoughtSignature"] = part.signature
            return [call]
        case ToolResult():
            return _result(part)


def _result(part: ToolResult) -> list[JsonObject]:
    text = "\n".join(one.text for one in part.content if isinstance(one, Text))
    response = {"error" if part.failed else "result": text}
    made: JsonObject = {"functionResponse": {**_id(part.id), "name": part.name, "response": response}}
    return [made, *(_media(one) for one in part.content if isinstance(one, Media))]


def _id(known: str) -> JsonObject:
    return {} if known.startswith(OURS) else {"id": known}


def _media(part: Media) -> JsonObject:
    if part.data is not None:
        return {"inlineData": {"mimeType": part.kind, "data": part.data}}
    kind = guess_type(part.url or "")[0]
    if kind is None:
        raise refused(part.place, f"`{part.place}`: what kind of file that is cannot be told from its name.")
    return {"fileData": {"mimeType": kind, "fileUri": part.url}}
