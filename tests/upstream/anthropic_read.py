"""Reads requests of Anthropic's messages, and refuses what its API refuses; apart from the gateway's code."""

from __future__ import annotations

from typing import Any

from tests.upstream.dialect import Refused

_FIELDS = frozenset(
    (
        *("cache_control", "container", "inference_geo", "max_tokens", "messages", "metadata", "model"),
        *("output_config", "service_tier", "stop_sequences", "stream", "system", "temperature", "thinking"),
        *("tool_choice", "tools", "top_k", "top_p"),
    )
)


def chat_of(doc: dict[str, Any], *, counted: bool) -> dict[str, Any]:
    """The request as the engine understands it. Raises Refused."""
    for name in doc:
        if name not in _FIELDS:
            raise Refused(400, f"{name}: Extra inputs are not permitted", param=name)
    if not counted and not isinstance(doc.get("max_tokens"), int):
        raise Refused(400, "max_tokens: Field required", violation="no_max_tokens")
    found = doc.get("messages")
    if not isinstance(found, list) or not found:
        raise Refused(400, "messages: at least one message is required", violation="no_messages")
    messages = [{"role": "system", "content": _text(doc["system"])}] if doc.get("system") else []
    waiting: set[str] = set()
    for place, message in enumerate(found):
        messages += _message(message, place, waiting)
    chat: dict[str, Any] = {"model": doc.get("model"), "messages": messages, "stream": doc.get("stream")}
    chat["max_tokens"] = doc.get("max_tokens")
    chat["stop"] = doc.get("stop_sequences")
    chat["tools"] = [_tool(tool) for tool in doc.get("tools") or ()]
    chat["tool_choice"] = _choice(doc.get("tool_choice"))
    form = (doc.get("output_config") or {}).get("format")
    if form:
        chat["response_format"] = {"type": "json_schema", "json_schema": {"schema": form["schema"]}}
    return {name: value for name, value in chat.items() if value not in (None, [])}


def _message(message: dict[str, Any], place: int, waiting: set[str]) -> list[dict[str, Any]]:
    role, content = message.get("role"), message.get("content")
    if role not in {"user", "assistant", "system"}:
        raise Refused(400, f"messages.{place}.role: unexpected", violation="bad_role")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not blocks:
        raise Refused(400, f"messages.{place}: content must not be empty", violation="empty_message")
    for block in blocks:
        if block["type"] == "text" and not block["text"]:
            raise Refused(400, "messages: text content blocks must be non-empty", violation="empty_message")
    results = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
    if results != waiting:
        raise Refused(400, f"messages.{place}: `tool_use` and `tool_result` differ", violation="tool_results")
    waiting.clear()
    waiting |= {block["id"] for block in blocks if block["type"] == "tool_use"}
    plain = [block for block in blocks if block["type"] not in {"tool_result", "tool_use", "thinking"}]
    made: list[dict[str, Any]] = [
        {"role": "tool", "content": _text(block.get("content") or "")}
        for block in blocks
        if block["type"] == "tool_result"
    ]
    if plain or not made:
        made.append({"role": role, "content": [_part(block) for block in plain]})
    return made


def _part(block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": block["text"]} if block["type"] == "text" else {"type": "image_url"}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(block["text"] for block in content if block["type"] == "text")


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(tool.get("input_schema"), dict) or tool["input_schema"].get("type") != "object":
        raise Refused(400, "tools.0.custom.input_schema.type: Field required", violation="bad_tool")
    return {"type": "function", "function": {"name": tool["name"], "parameters": tool["input_schema"]}}


def _choice(wanted: dict[str, Any] | None) -> Any:
    if wanted is None:
        return None
    if wanted["type"] == "tool":
        return {"type": "function", "function": {"name": wanted["name"]}}
    return {"auto": "auto", "any": "required", "none": "none"}[wanted["type"]]
