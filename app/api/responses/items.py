"""Input items of a response as chat messages. Raises `GatewayError` for what has no counterpart."""

from __future__ import annotations

import base64
from typing import Any, Final

import orjson

from app.errors import refused
from app.exchange import JsonObject

SEALED: Final = "sluicegate:"
"""How `encrypted_content` begins that holds a provider's signed thoughts, to be sent back as they are."""
_ROLES: Final = frozenset({"user", "assistant", "system", "developer"})


def messages(given: Any) -> list[JsonObject]:
    """The messages of an input. What an assistant thought, said and called in a row is one message."""
    if type(given) is str and given:
        return [{"role": "user", "content": given}]
    if type(given) is not list or not given:
        raise refused("input", "`input` must be a string or an array of items, not empty.")
    found: list[JsonObject] = []
    for number, item in enumerate(given):
        place = f"input[{number}]"
        if type(item) is not dict:
            raise refused(place, f"`{place}` must be an object.")
        kind = item.get("type") or ("message" if "role" in item else None)
        read = _READERS.get(str(kind))
        if read is None:
            raise refused(f"{place}.type", f"`{place}.type` is `{str(kind)[:40]}`, which cannot be translated here.")
        read(item, place, found)
    return found


def _message(item: JsonObject, place: str, found: list[JsonObject]) -> None:
    role = item.get("role")
    if type(role) is not str or role not in _ROLES:
        raise refused(f"{place}.role", f"`{place}.role` must be one of {', '.join(sorted(_ROLES))}.")
    content = _content(item.get("content"), f"{place}.content")
    if role != "assistant":
        found.append({"role": role, "content": content})
        return
    _silent(found)["content"] = content


def _silent(found: list[JsonObject]) -> JsonObject:
    """The same, if it has said and called nothing yet; else a fresh one."""
    said = _assistant(found)
    if said.get("content") is not None or said.get("tool_calls"):
        said = {"role": "assistant", "content": None}
        found.append(said)
    return said


def _assistant(found: list[JsonObject]) -> JsonObject:
    """The assistant's message that is being put together; a fresh one after anybody else's."""
    if not found or found[-1]["role"] != "assistant":
        found.append({"role": "assistant", "content": None})
    return found[-1]


def _content(value: Any, place: str) -> Any:
    if type(value) is str:
        return value
    if type(value) is not list:
        raise refused(place, f"`{place}` must be a string or an array of parts.")
    parts = [_part(part, f"{place}[{number}]") for number, part in enumerate(value)]
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _part(part: Any, place: str) -> JsonObject:
    match part:
        case {"type": "input_text" | "output_text", "text": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "refusal", "refusal": str(text)}:
            return {"type": "refusal", "refusal": text}
        case {"type": "input_image", "image_url": str(url)}:
            detail = {"detail": part["detail"]} if part.get("detail") not in (None, "auto") else {}
            return {"type": "image_url", "image_url": {"url": url, **detail}}
        case {"type": "input_file", "file_data": str(data)}:
            return {"type": "file", "file": {"file_data": data, "filename": part.get("filename") or "file"}}
    raise refused(place, f"`{place}` cannot be translated: text, images by URL and files by `file_data` can.")


def _call(item: JsonObject, place: str, found: list[JsonObject]) -> None:
    for name in ("call_id", "name", "arguments"):
        if type(item.get(name)) is not str:
            raise refused(f"{place}.{name}", f"`{place}.{name}` must be a string.")
    function = {"name": item["name"], "arguments": item["arguments"]}
    call: JsonObject = {"id": item["call_id"], "type": "function", "function": function}
    if item.get("extra_content") is not None:
        call["extra_content"] = item["extra_content"]
    _assistant(found).setdefault("tool_calls", []).append(call)


def _output(item: JsonObject, place: str, found: list[JsonObject]) -> None:
    if type(item.get("call_id")) is not str:
        raise refused(f"{place}.call_id", f"`{place}.call_id` must be a string.")
    content = _content(item.get("output"), f"{place}.output")
    found.append({"role": "tool", "tool_call_id": item["call_id"], "content": content})


def _reasoning(item: JsonObject, _place: str, found: list[JsonObject]) -> None:
    """Thoughts of a provider behind this gateway go back to it; those of others can be read by nobody here."""
    sealed = item.get("encrypted_content")
    if type(sealed) is not str or not sealed.startswith(SEALED):
        return
    try:
        blocks = orjson.loads(base64.b64decode(sealed.removeprefix(SEALED), validate=True))
    except ValueError:
        return
    _silent(found)["thinking_blocks"] = blocks


_READERS: dict[str, Any] = {
    "message": _message, "function_call": _call, "function_call_output": _output, "reasoning": _reasoning,
}  # fmt: skip
