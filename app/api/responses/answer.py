"""A chat completion as a response, whole; and what whole and streamed ones share."""

from __future__ import annotations

import base64
import time
from typing import Any

import orjson

from app.api.responses.items import SEALED
from app.api.surface import string
from app.exchange import JsonObject, Usage
from app.pipeline.progress import Progress


def ids(request_id: str, kind: str, place: int) -> str:
    """An id of an item: `msg_`, `fc_` or `rs_`, the request's, and its place."""
    return f"{kind}_{request_id.removeprefix('req_')}_{place}"


def usage_document(usage: Usage | None) -> JsonObject | None:
    """Usage in the shape of responses."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def frame(progress: Progress, model: Any) -> JsonObject:
    """A response that has just begun: what was asked for, and nothing of the answer."""
    body = progress.call.body if progress.call is not None else {}
    wanted = body.get("tool_choice", "auto")
    if type(wanted) is dict:
        wanted = {"type": "function", "name": wanted["function"]["name"]}
    form = body.get("response_format") or {"type": "text"}
    if form.get("type") == "json_schema":
        form = {"type": "json_schema", **form["json_schema"]}
    first = body["messages"][0] if body.get("messages") else {}
    return {
        "id": f"resp_{progress.request_id.removeprefix('req_')}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": first.get("content") if first.get("role") == "system" else None,
        "max_output_tokens": body.get("max_completion_tokens"),
        "model": model or body.get("model"),
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "reasoning": {"effort": body.get("reasoning_effort"), "summary": None},
        "store": False,
        "temperature": body.get("temperature"),
        "text": {"format": form},
        "tool_choice": wanted,
        "tools": [_offered(tool["function"]) for tool in body.get("tools") or ()],
        "top_p": body.get("top_p"),
        "truncation": "disabled",
        "usage": None,
        "metadata": {},
    }


def _offered(function: JsonObject) -> JsonObject:
    return {"type": "function", "parameters": None, "strict": None, **function}


def finished(response: JsonObject, choice: JsonObject, usage: Usage | None) -> JsonObject:
    """The response at its end: completed, or incomplete with the reason."""
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(choice.get("finish_reason") or "")
    response["status"] = "completed" if reason is None else "incomplete"
    response["incomplete_details"] = None if reason is None else {"reason": reason}
    response["usage"] = usage_document(usage)
    if choice.get("content_filter_results"):
        response["content_filter_results"] = choice["content_filter_results"]
    return response


def reasoning_item(known: str, text: str, blocks: list[JsonObject], status: str) -> JsonObject:
    """What was thought; signed thoughts are sealed for the next turn."""
    sealed = SEALED + base64.b64encode(orjson.dumps(blocks)).decode() if blocks else None
    content = [{"type": "reasoning_text", "text": text}] if text else []
    return {
        "id": known, "type": "reasoning", "summary": [], "content": content, "encrypted_content": sealed,
        "status": status,
    }  # fmt: skip


def text_part(text: str, logprobs: Any = None) -> JsonObject:
    """A part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}


def message_item(known: str, parts: list[JsonObject], status: str) -> JsonObject:
    """What was said."""
    return {"id": known, "type": "message", "role": "assistant", "status": status, "content": parts}


def call_item(known: str, call: JsonObject, arguments: str, status: str) -> JsonObject:
    """What was called."""
    item = {
        "id": known, "type": "function_call", "call_id": call.get("id"), "name": call["function"].get("name"),
        "arguments": arguments, "status": status,
    }  # fmt: skip
    return item | ({"extra_content": call["extra_content"]} if "extra_content" in call else {})


def whole(doc: JsonObject, usage: Usage | None, progress: Progress) -> JsonObject:
    """The response."""
    choice = doc["choices"][0]
    said = choice["message"]
    response = finished(frame(progress, doc.get("model")), choice, usage)
    status = response["status"]
    output: list[JsonObject] = response["output"]

    def known(kind: str) -> str:
        return ids(progress.request_id, kind, len(output))

    thought, blocks = said.get("reasoning_content") or said.get("reasoning") or "", said.get("thinking_blocks") or []
    if type(blocks) is not list:
        raise TypeError("not an array")
    if thought or blocks:
        output.append(reasoning_item(known("rs"), string(thought), blocks, "completed"))
    logprobs = (choice.get("logprobs") or {}).get("content")
    parts = [text_part(string(said["content"]), logprobs)] if said.get("content") else []
    if said.get("refusal"):
        parts.append({"type": "refusal", "refusal": string(said["refusal"])})
    calls = said.get("tool_calls") or ()
    if parts or not calls:
        output.append(message_item(known("msg"), parts or [text_part("")], status))
    for call in calls:
        item = call_item(known("fc"), call, string(call["function"]["arguments"]), status)
        output.append(item)
    return response
