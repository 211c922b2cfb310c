"""One conversation in each caller's shape: asked in its words, its answers read into one form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson

from app.exchange import JsonObject
from tests.providers.dialogues import PNG, SCHEMA

CHAT, MESSAGES, RESPONSES = SURFACES = ("/v1/chat/completions", "/v1/messages", "/v1/responses")


@dataclass(slots=True)
class Seen:
    """What a caller saw of an answer. Usage is (input, output, cached, reasoning)."""

    text: str = ""
    thought: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    end: str = ""
    usage: tuple[int, int, int, int] = (0, 0, 0, 0)


ENDS = {
    "stop": "stop", "length": "length", "tool_calls": "tools", "content_filter": "filter",
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tools", "refusal": "filter",
}  # fmt: skip


def question(surface: str, model: str, **wanted: Any) -> JsonObject:
    """A request. Wanted may be: system, history, image, tools, choice, results, form, stop, sampling, cap, stream."""
    makers = {CHAT: _chat, MESSAGES: _message, RESPONSES: _response}
    body = makers[surface](wanted)
    body |= {"model": model, **wanted.get("sampling", {})}
    return body | ({"stream": True} if wanted.get("stream") else {})


def _turns(wanted: JsonObject) -> list[JsonObject]:
    past = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}] if "history" in wanted else []
    return [*past, {"role": "user", "content": wanted.get("text", "a b c")}]


def _chat(wanted: JsonObject) -> JsonObject:
    messages = [{"role": "system", "content": wanted["system"]}] if "system" in wanted else []
    messages += _turns(wanted)
    body: JsonObject = {"messages": messages}
    if "image" in wanted:
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
        messages[-1] = {"role": "user", "content": [{"type": "text", "text": "a b c"}, image]}
    if "tools" in wanted:
        function = {"name": "get_weather", "description": "d", "parameters": SCHEMA}
        body["tools"] = [{"type": "function", "function": function}]
        body["tool_choice"] = wanted.get("choice", "auto")
    if "results" in wanted:
        calls = [
            {"id": known, "type": "function", "function": {"name": name, "arguments": arguments}}
            for known, name, arguments in wanted["results"]
        ]
        messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": "18 °C"} for call in calls]
    if "form" in wanted:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}}
    if "stop" in wanted:
        body["stop"] = wanted["stop"]
    if "cap" in wanted:
        body["max_completion_tokens"] = wanted["cap"]
    if wanted.get("stream"):
        body["stream_options"] = {"include_usage": True}
    return body


def _message(wanted: JsonObject) -> JsonObject:
    messages = _turns(wanted)
    body: JsonObject = {"messages": messages, "max_tokens": wanted.get("cap", 100)}
    if "system" in wanted:
        body["system"] = wanted["system"]
    if "image" in wanted:
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
        messages[-1] = {"role": "user", "content": [{"type": "text", "text": "a b c"}, image]}
    if "tools" in wanted:
        body["tools"] = [{"name": "get_weather", "description": "d", "input_schema": SCHEMA}]
        body["tool_choice"] = {"type": {"required": "any"}.get(wanted.get("choice", "auto"), "auto")}
    if "results" in wanted:
        calls = [
            {"type": "tool_use", "id": known, "name": name, "input": orjson.loads(arguments)}
            for known, name, arguments in wanted["results"]
        ]
        results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "18 °C"} for call in calls]
        messages += [{"role": "assistant", "content": calls}, {"role": "user", "content": results}]
    if "form" in wanted:
        body["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    if "stop" in wanted:
        body["stop_sequences"] = wanted["stop"]
    return body


def _response(wanted: JsonObject) -> JsonObject:
    items = _turns(wanted)
    body: JsonObject = {"input": items, "store": False}
    if "system" in wanted:
        body["instructions"] = wanted["system"]
    if "image" in wanted:
        image = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"}
        items[-1] = {"role": "user", "content": [{"type": "input_text", "text": "a b c"}, image]}
    if "tools" in wanted:
        body["tools"] = [{"type": "function", "name": "get_weather", "description": "d", "parameters": SCHEMA}]
        body["tool_choice"] = wanted.get("choice", "auto")
    for known, name, arguments in wanted.get("results", ()):
        items.append({"type": "function_call", "call_id": known, "name": name, "arguments": arguments})
    for known, _, _ in wanted.get("results", ()):
        items.append({"type": "function_call_output", "call_id": known, "output": "18 °C"})
    if "form" in wanted:
        body["text"] = {"format": {"type": "json_schema", "name": "trip", "schema": SCHEMA}}
    if "stop" in wanted:
        body["stop"] = wanted["stop"]  # not OpenAI's here; it goes through
    if "cap" in wanted:
        body["max_output_tokens"] = wanted["cap"]
    return body


def answer(surface: str, response: httpx2.Response) -> Seen:
    """What was answered, whole or streamed."""
    streamed = "event-stream" in response.headers["content-type"]
    if not streamed:
        return {CHAT: _read_chat, MESSAGES: _read_message, RESPONSES: _read_response}[surface](response.json())
    docs = [orjson.loads(line[6:]) for line in response.text.split("\n") if line.startswith("data: {")]
    assert not any("error" in doc and doc["error"] for doc in docs), docs
    if surface == RESPONSES:
        text = "".join(doc["delta"] for doc in docs if doc["type"] == "response.output_text.delta")
        seen = _read_response(docs[-1]["response"])
        assert text == seen.text
        return seen
    return _joined_chat(docs) if surface == CHAT else _joined_message(docs)


def _usage(doc: JsonObject) -> tuple[int, int, int, int]:
    cached = (doc.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thought = (doc.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return doc["prompt_tokens"], doc["completion_tokens"], cached, thought


def _read_chat(doc: JsonObject) -> Seen:
    choice = doc["choices"][0]
    said = choice["message"]
    calls = [
        (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in said.get("tool_calls") or ()
    ]
    thought = said.get("reasoning_content") or said.get("reasoning") or ""
    return Seen(said["content"] or "", thought, calls, ENDS[choice["finish_reason"]], _usage(doc["usage"]))


def _joined_chat(docs: list[JsonObject]) -> Seen:
    seen = Seen()
    calls: dict[int, list[str]] = {}
    for doc in docs:
        if doc.get("usage"):
            seen.usage = _usage(doc["usage"])
        for choice in doc["choices"]:
            delta = choice["delta"]
            seen.text += delta.get("content") or ""
            seen.thought += delta.get("reasoning_content") or delta.get("reasoning") or ""
            for call in delta.get("tool_calls") or ():
                known = calls.setdefault(call["index"], ["", "", ""])
                known[0] += call.get("id") or ""
                known[1] += call["function"].get("name") or ""
                known[2] += call["function"].get("arguments") or ""
            if choice["finish_reason"]:
                seen.end = ENDS[choice["finish_reason"]]
    seen.calls = [(known[0], known[1], known[2]) for known in calls.values()]
    return seen


def _message_usage(doc: JsonObject) -> tuple[int, int, int, int]:
    cached = doc.get("cache_read_input_tokens", 0)
    thought = doc.get("output_tokens_details", {}).get("thinking_tokens", 0)
    return (
        doc["input_tokens"] + cached + doc.get("cache_creation_input_tokens", 0),
        doc["output_tokens"],
        cached,
        thought,
    )


def _read_message(doc: JsonObject) -> Seen:
    seen = Seen(end=ENDS[doc["stop_reason"]], usage=_message_usage(doc["usage"]))
    for block in doc["content"]:
        seen.text += block.get("text", "")
        seen.thought += block.get("thinking", "")
        if block["type"] == "tool_use":
            seen.calls.append((block["id"], block["name"], orjson.dumps(block["input"]).decode()))
    return seen


def _joined_message(docs: list[JsonObject]) -> Seen:
    blocks: dict[int, JsonObject] = {}
    message: JsonObject = {}
    for doc in docs:
        if doc["type"] == "content_block_start":
            blocks[doc["index"]] = {**doc["content_block"], "json": ""}
        elif doc["type"] == "content_block_delta":
            delta, block = doc["delta"], blocks[doc["index"]]
            for name, key in (("text", "text"), ("thinking", "thinking"), ("partial_json", "json")):
                block[key] = block.get(key, "") + delta.get(name, "") if name in delta else block.get(key, "")
        elif doc["type"] == "message_delta":
            message = {"stop_reason": doc["delta"]["stop_reason"], "usage": doc["usage"]}
    for block in blocks.values():
        if block["type"] == "tool_use":
            block["input"] = orjson.loads(block["json"] or "{}")
    return _read_message({**message, "content": list(blocks.values())})


def _read_response(doc: JsonObject) -> Seen:
    usage = doc["usage"]
    cached, thought = usage["input_tokens_details"]["cached_tokens"], usage["output_tokens_details"]["reasoning_tokens"]
    seen = Seen(usage=(usage["input_tokens"], usage["output_tokens"], cached, thought))
    for item in doc["output"]:
        if item["type"] == "function_call":
            seen.calls.append((item["call_id"], item["name"], item["arguments"]))
        for part in item.get("content", ()):
            if item["type"] == "reasoning":
                seen.thought += part["text"]
            else:
                seen.text += part.get("text", "")
    reason = (doc["incomplete_details"] or {}).get("reason")
    seen.end = {"max_output_tokens": "length", "content_filter": "filter"}.get(
        reason or "", "tools" if seen.calls else "stop"
    )
    return seen
