"""OpenAI's `messages`, read for providers that speak differently. What is wrong is a 400 that names the place.

Beyond OpenAI's shape, as other gateways have it: `cache_control` on parts, tools and tool messages, and
`thinking_blocks` on an assistant's message (Anthropic); `extra_content.google.thought_signature` on tool calls
(Gemini); `is_error` on a tool's message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from app.errors import GatewayError, refused
from app.exchange import JsonObject
from app.providers.parts import Media, Part, Text, Thinking, ToolCall, ToolResult, Turn

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "user"}
_AUDIO = {"wav": "audio/wav", "mp3": "audio/mpeg"}


def turns(messages: list[JsonObject]) -> list[Turn]:
    """The turns of a conversation: neighbours of one role are one turn. Raises `GatewayError`."""
    found: list[Turn] = []
    calls: dict[str, str] = {}
    waiting: dict[str, str] = {}
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        role = _ROLES.get(message["role"])
        if role is None:
            known = ", ".join(f"`{name}`" for name in _ROLES)
            raise refused(f"{place}.role", f"`{place}.role` must be one of {known}; got `{message['role'][:40]}`.")
        if waiting and message["role"] not in ("tool", "system", "developer"):
            raise _unanswered(waiting)
        if message["role"] == "tool":
            parts: tuple[Part, ...] = (_result(message, place, calls, waiting),)
        elif role == "assistant":
            parts = tuple(_said(message, place, calls, waiting))
        else:
            parts = tuple(content(message.get("content"), f"{place}.content"))
        if not parts:
            raise refused(f"{place}.content", f"`{place}` says nothing: its `content` is empty.")
        if found and found[-1].role == role:
            parts = found[-1].parts + parts
            place = found.pop().place
        found.append(Turn(role, parts, place))
    if waiting:
        raise _unanswered(waiting)
    return found


def _unanswered(waiting: dict[str, str]) -> GatewayError:
    call, place = next(iter(waiting.items()))
    return refused(
        place, f"`{place}` calls a tool (`{call[:64]}`) whose result is missing: a `tool` message must follow."
    )


def content(value: Any, place: str) -> Iterator[Text | Media]:
    """The parts of a message's `content`; empty text is none."""
    if value is None or type(value) is str:
        if value:
            yield Text(value)
        return
    if type(value) is not list:
        raise refused(place, f"`{place}` must be a string or an array of parts.")
    for number, part in enumerate(value):
        spot = f"{place}[{number}]"
        if type(part) is not dict:
            raise refused(spot, f"`{spot}` must be an object with a `type`.")
        read = _PARTS.get(str(part.get("type")))
        if read is None:
            raise refused(f"{spot}.type", f"`{spot}.type` is `{str(part.get('type'))[:40]}`, which is no kind of part.")
        found = read(part, spot)
        if found is not None:
            yield found


def _text(part: JsonObject, place: str) -> Text | None:
    text = part.get("text")
    if type(text) is not str:
        raise refused(f"{place}.text", f"`{place}.text` must be a string.")
    return Text(text, part.get("cache_control")) if text else None


def _refusal(part: JsonObject, place: str) -> Text | None:
    text = part.get("refusal")
    if type(text) is not str:
        raise refused(f"{place}.refusal", f"`{place}.refusal` must be a string.")
    return Text(text) if text else None


def _image(part: JsonObject, place: str) -> Media:
    image = part.get("image_url")
    url = image.get("url") if type(image) is dict else image
    if type(url) is not str or not url:
        raise refused(f"{place}.image_url.url", f"`{place}.image_url.url` must be a URL.")
    return _media(url, f"{place}.image_url.url", None, part.get("cache_control"))


def _file(part: JsonObject, place: str) -> Media:
    file = part.get("file")
    data = file.get("file_data") if type(file) is dict else None
    if type(data) is not str or not data:
        raise refused(
            f"{place}.file.file_data", f"`{place}.file.file_data` must be a data URL: ids of uploaded files end here."
        )
    name = file.get("filename") if type(file) is dict else None
    return _media(data, f"{place}.file.file_data", name if type(name) is str else None, part.get("cache_control"))


def _audio(part: JsonObject, place: str) -> Media:
    audio = part.get("input_audio")
    if type(audio) is not dict or type(audio.get("data")) is not str:
        raise refused(f"{place}.input_audio", f"`{place}.input_audio` must have `data` in base64 and a `format`.")
    kind = _AUDIO.get(str(audio.get("format")))
    if kind is None:
        raise refused(f"{place}.input_audio.format", f"`{place}.input_audio.format` must be `wav` or `mp3`.")
    return Media(f"{place}.input_audio", kind, audio["data"], None)


def _media(url: str, place: str, name: str | None, cache: JsonObject | None) -> Media:
    if not url.startswith("data:"):
        return Media(place, None, None, url, name, cache)
    kind, separator, data = url[5:].partition(";base64,")
    if not separator or not kind or not data:
        raise refused(place, f"`{place}` must be a data URL of the form `data:image/png;base64,...`.")
    return Media(place, kind.partition(";")[0], data, None, name, cache)


_PARTS: dict[str, Any] = {
    "text": _text, "refusal": _refusal, "image_url": _image, "file": _file, "input_audio": _audio,
}  # fmt: skip


def _result(message: JsonObject, place: str, calls: dict[str, str], waiting: dict[str, str]) -> ToolResult:
    call = message.get("tool_call_id")
    if type(call) is not str or call not in waiting:
        raise refused(
            f"{place}.tool_call_id",
            f"`{place}.tool_call_id` answers no tool call of the assistant's message before it.",
        )
    del waiting[call]
    parts = tuple(content(message.get("content"), f"{place}.content"))
    return ToolResult(call, calls[call], parts, message.get("is_error") is True, message.get("cache_control"))


def _said(message: JsonObject, place: str, calls: dict[str, str], waiting: dict[str, str]) -> Iterator[Part]:
    """An assistant's turn: what it thought, what it said, what it called."""
    if message.get("function_call") is not None:
        raise refused(f"{place}.function_call", f"`{place}.function_call` is the retired form: use `tool_calls`.")
    if message.get("audio") is not None:
        raise refused(f"{place}.audio", f"`{place}.audio` refers to an answer that only its provider keeps.")
    for number, block in enumerate(message.get("thinking_blocks") or ()):
        yield _thought(block, f"{place}.thinking_blocks[{number}]")
    yield from content(message.get("content"), f"{place}.content")
    if type(message.get("refusal")) is str and message["refusal"]:
        yield Text(message["refusal"])
    tool_calls = message.get("tool_calls")
    if tool_calls is not None and type(tool_calls) is not list:
        raise refused(f"{place}.tool_calls", f"`{place}.tool_calls` must be an array.")
    for number, call in enumerate(tool_calls or ()):
        spot = f"{place}.tool_calls[{number}]"
        found = _call(call, spot)
        if found.id in calls:
            raise refused(f"{spot}.id", f"`{spot}.id` was used by another tool call.")
        calls[found.id] = found.name
        waiting[found.id] = spot
        yield found


def _thought(block: Any, place: str) -> Thinking:
    if type(block) is dict and block.get("type") == "redacted_thinking" and type(block.get("data")) is str:
        return Thinking("", "", block["data"])
    if (
        type(block) is dict
        and block.get("type") == "thinking"
        and type(block.get("thinking")) is str
        and type(block.get("signature")) is str
    ):
        return Thinking(block["thinking"], block["signature"])
    raise refused(place, f"`{place}` must be a `thinking` block with its `signature`, or a `redacted_thinking` block.")


def _call(call: Any, place: str) -> ToolCall:
    function = call.get("function") if type(call) is dict else None
    if type(function) is not dict or call.get("type", "function") != "function":
        raise refused(place, f"`{place}` must be a call of a `function`.")
    name, known = function.get("name"), call.get("id")
    if type(name) is not str or not name:
        raise refused(f"{place}.function.name", f"`{place}.function.name` must be a non-empty string.")
    if type(known) is not str or not known:
        raise refused(f"{place}.id", f"`{place}.id` must be a non-empty string.")
    given = function.get("arguments")
    try:
        arguments = orjson.loads(given) if given else {}
    except (orjson.JSONDecodeError, TypeError):
        arguments = None
    if type(arguments) is not dict:
        spot = f"{place}.function.arguments"
        raise refused(spot, f"`{spot}` must be a JSON object written as a string.")
    extra = call.get("extra_content")
    google = extra.get("google") if type(extra) is dict else None
    signature = google.get("thought_signature") if type(google) is dict else None
    return ToolCall(known, name, arguments, signature if type(signature) is str else None, call.get("cache_control"))
