"""Reads requests of Gemini's generateContent, and refuses what its API refuses; apart from the gateway's code."""

from __future__ import annotations

from typing import Any

from tests.upstream.dialect import Refused

_FIELDS = frozenset(
    (
        *("cachedContent", "contents", "generationConfig", "labels", "model", "safetySettings", "systemInstruction"),
        *("toolConfig", "tools"),
    )
)
_PARAMETERS = ("parametersJsonSchema", "parameters_json_schema", "parameters")
"""Google's JSON takes both spellings of a name, its SDK sends the second; the third holds a schema of Google's own."""
_CHOICES = {"AUTO": "auto", "VALIDATED": "auto", "NONE": "none", "ANY": "required"}


def chat_of(doc: dict[str, Any], model: str) -> dict[str, Any]:
    """The request as the engine understands it. Raises Refused."""
    for name in doc:
        if name not in _FIELDS:
            raise Refused(400, f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
    contents = doc.get("contents")
    if not isinstance(contents, list) or not contents:
        raise Refused(400, "* GenerateContentRequest.contents: contents is not specified", violation="no_contents")
    messages = [message for content in contents for message in _messages(content)]
    if doc.get("systemInstruction"):
        messages.insert(0, {"role": "system", "content": _text(doc["systemInstruction"])})
    config = doc.get("generationConfig") or {}
    chat: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "max_tokens": config.get("maxOutputTokens"),
        "stop": config.get("stopSequences"),
        "n": config.get("candidateCount"),
        "seed": config.get("seed"),
        "temperature": config.get("temperature"),
        "tools": [_tool(one) for tool in doc.get("tools") or () for one in tool["functionDeclarations"]],
        "tool_choice": _choice(doc.get("toolConfig")),
    }
    if config.get("responseMimeType") == "application/json":
        schema = config.get("responseJsonSchema") or {"properties": {"answer": {"type": "string"}}}
        chat["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}}
    return {name: value for name, value in chat.items() if value not in (None, [])}


def _messages(content: dict[str, Any]) -> list[dict[str, Any]]:
    if content.get("role") not in {"user", "model"}:
        raise Refused(400, "Please use a valid role: user, model.", violation="bad_role")
    parts = content.get("parts")
    if not parts or any(part.get("text") == "" for part in parts):
        raise Refused(400, "* contents.parts: must not be empty.", violation="empty_message")
    role = {"user": "user", "model": "assistant"}[content["role"]]
    made: list[dict[str, Any]] = []
    plain = [_part(part) for part in parts if "functionCall" not in part and "functionResponse" not in part]
    if plain or role == "assistant":
        made.append({"role": role, "content": plain})
    made += [
        {"role": "tool", "content": str(part["functionResponse"]["response"])}
        for part in parts
        if "functionResponse" in part
    ]
    return made


def _part(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": part["text"]} if "text" in part else {"type": "image_url"}


def _text(content: dict[str, Any]) -> str:
    return " ".join(part["text"] for part in content["parts"])


def _tool(declared: dict[str, Any]) -> dict[str, Any]:
    parameters: dict[str, Any] = next((declared[name] for name in _PARAMETERS if name in declared), {})
    if parameters.get("type") not in {"object", "OBJECT"}:
        raise Refused(400, "* tools.function_declarations.parameters: must be an object", violation="bad_tool")
    return {"type": "function", "function": {"name": declared["name"], "parameters": parameters}}


def _choice(config: dict[str, Any] | None) -> Any:
    if config is None:
        return None
    calling = config["functionCallingConfig"]
    names = calling.get("allowedFunctionNames")
    if names:
        return {"type": "function", "function": {"name": names[0]}}
    return _CHOICES[calling["mode"]]
