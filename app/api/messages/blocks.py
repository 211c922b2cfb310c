"""Anthropic's messages as OpenAI's: what a block becomes. Raises `GatewayError` for what has no counterpart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from app.errors import refused
from app.exchange import JsonObject


def text_of(value: Any, place: str, name: str) -> str:
    """A string field of a block."""
    text = value.get(name)
    if type(text) is not str:
        raise refused(f"{place}.{name}", f"`{place}.{name}` must be a string.")
    return text


def system(value: Any) -> Iterator[JsonObject]:
    """The system prompt as a system message."""
    if value is None or value in ("", []):
        return
    yield {"role": "system", "content": _content(value, "system", {"text"})}


def messages(found: list[JsonObject]) -> Iterator[JsonObject]:
    """Every message, in order; results of tools become messages of their own."""
    for number, message in enumerate(found):
        place = f"messages[{number}]"
        role, content = message["role"], message["content"]
        if role == "assistant":
            yield _assistant(content, f"{place}.content")
        elif role == "system":
            yield {"role": "system", "content": _content(content, f"{place}.content", {"text"})}
        else:
            yield from _user(content, f"{place}.content")


def _blocks(content: Any, place: str) -> Iterator[tuple[str, JsonObject]]:
    for number, block in enumerate(content):
        spot = f"{place}[{number}]"
        if type(block) is not dict or type(block.get("type")) is not str:
            raise refused(spot, f"`{spot}` must be a block with a `type`.")
        yield spot, block


def _user(content: Any, place: str) -> Iterator[JsonObject]:
    if type(content) is str:
        yield {"role": "user", "content": content}
        return
    parts: list[JsonObject] = []
    for spot, block in _blocks(content, place):
        if block["type"] != "tool_result":
            parts.append(_part(block, spot))
        elif parts:
            raise refused(spot, f"`{spot}`: results of tools must come before everything else in a message.")
        else:
            yield _result(block, spot)
    if parts:
        yield {"role": "user", "content": _plain(parts)}


def _result(block: JsonObject, place: str) -> JsonObject:
    message: JsonObject = {"role": "tool", "tool_call_id": text_of(block, place, "tool_use_id")}
    message["content"] = _content(block.get("content", ""), f"{place}.content", {"text", "image", "document"})
    if block.get("is_error"):
        message["is_error"] = True
    return _cached(message, block)


def _content(value: Any, place: str, kinds: set[str]) -> Any:
    if type(value) is str:
        return value
    if type(value) is not list:
        raise refused(place, f"`{place}` must be a string or an array of blocks.")
    parts = []
    for spot, block in _blocks(value, place):
        if block["type"] not in kinds:
            raise refused(f"{spot}.type", f"`{spot}.type` must be {' or '.join(sorted(kinds))} here.")
        parts.append(_part(block, spot))
    return _plain(parts)


def _plain(parts: list[JsonObject]) -> Any:
    """One text without hints is a string."""
    return parts[0]["text"] if len(parts) == 1 and parts[0].keys() == {"type", "text"} else parts


def _part(block: JsonObject, place: str) -> JsonObject:
    kind = block["type"]
    if kind == "text":
        return _cached({"type": "text", "text": text_of(block, place, "text")}, block)
    source = block.get("source")
    if kind not in ("image", "document") or type(source) is not dict:
        raise refused(f"{place}.type", f"`{place}.type` is `{kind[:40]}`, which cannot be translated here.")
    if kind == "image":
        return _cached({"type": "image_url", "image_url": {"url": _url(source, f"{place}.source")}}, block)
    for name in ("citations", "context"):
        if block.get(name) not in (None, {"enabled": False}):
            raise refused(f"{place}.{name}", f"`{place}.{name}` has no counterpart in OpenAI's shape.")
    if source.get("type") == "text":
        return _cached({"type": "text", "text": text_of(source, f"{place}.source", "data")}, block)
    title = block.get("title")
    file = {"file_data": _url(source, f"{place}.source"), "filename": title if type(title) is str else "document.pdf"}
    return _cached({"type": "file", "file": file}, block)


def _url(source: JsonObject, place: str) -> str:
    kind = source.get("type")
    if kind == "url":
        return text_of(source, place, "url")
    if kind == "base64":
        return f"data:{text_of(source, place, 'media_type')};base64,{text_of(source, place, 'data')}"
    raise refused(f"{place}.type", f"`{place}.type` must be `base64` or `url`: ids of uploaded files end here.")


def _assistant(content: Any, place: str) -> JsonObject:
    if type(content) is str:
        return {"role": "assistant", "content": content}
    texts: list[JsonObject] = []
    thoughts: list[JsonObject] = []
    calls: list[JsonObject] = []
    unsigned: list[str] = []
    for spot, block in _blocks(content, place):
        kind = block["type"]
        if kind == "text":
            texts.append(_part(block, spot))
        elif kind in ("thinking", "redacted_thinking"):
            if block.get("signature") == "":  # another provider's, which nobody can check
                unsigned.append(text_of(block, spot, "thinking"))
            else:
                thoughts.append(block)
        elif kind == "tool_use":
            arguments = block.get("input")
            if type(arguments) is not dict:
                raise refused(f"{spot}.input", f"`{spot}.input` must be an object.")
            function = {"name": text_of(block, spot, "name"), "arguments": orjson.dumps(arguments).decode()}
            call = {"id": text_of(block, spot, "id"), "type": "function", "function": function}
            calls.append(_cached(call, block))
        else:
            raise refused(f"{spot}.type", f"`{spot}.type` is `{kind[:40]}`, which cannot be translated here.")
    message: JsonObject = {"role": "assistant", "content": _plain(texts) if texts else None}
    if thoughts:
        message["thinking_blocks"] = thoughts
    if unsigned:
        message["reasoning_content"] = "".join(unsigned)
    if calls:
        message["tool_calls"] = calls
    return message


def _cached(made: JsonObject, block: JsonObject) -> JsonObject:
    if block.get("cache_control") is not None:
        made["cache_control"] = block["cache_control"]
    return made
