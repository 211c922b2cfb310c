"""Gemini's answers as chat completions. A stream is a series of answers, each a piece of the whole."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

import orjson

from app.exchange import JsonObject, Usage
from app.providers.gemini.contents import OURS

_FINISH: Final = {
    "STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter", "RECITATION": "content_filter",
    "LANGUAGE": "content_filter", "BLOCKLIST": "content_filter", "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter", "IMAGE_SAFETY": "content_filter", "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter", "MODEL_ARMOR": "content_filter",
}  # fmt: skip
"""Why an answer ended, in OpenAI's words; every other reason is `stop`, and `native_finish_reason` tells it."""
_CATEGORIES: Final = {"hate_speech": "hate", "sexually_explicit": "sexual"}


def usage_of(reported: Any) -> Usage | None:
    """Gemini's usage: thoughts are counted beside the candidates, ours are a part of the output."""
    if type(reported) is not dict:
        return None

    def count(name: str) -> int:
        value = reported.get(name)
        return value if type(value) is int and value >= 0 else 0

    read = count("promptTokenCount") + count("toolUsePromptTokenCount")
    thought = count("thoughtsTokenCount")
    cached = min(count("cachedContentTokenCount"), read)
    return Usage(read, count("candidatesTokenCount") + thought, cached, 0, thought)


class Said:
    """What one candidate says in one answer, or in one piece of a stream."""

    __slots__ = ("calls", "text", "thought", "tokens")

    def __init__(self, candidate: JsonObject, first_call: int) -> None:
        self.text = self.thought = ""
        self.tokens = 0
        self.calls: list[JsonObject] = []
        content = candidate.get("content") or {}
        for part in content.get("parts") or ():
            self._take(part, first_call)

    def _take(self, part: JsonObject, first_call: int) -> None:
        called = part.get("functionCall")
        if called is not None:
            function = {"name": called["name"], "arguments": orjson.dumps(called.get("args") or {}).decode()}
            known = called.get("id") or f"{OURS}{uuid4().hex[:16]}"
            call = {"index": first_call + len(self.calls), "id": known, "type": "function", "function": function}
            if part.get("thoughtSignature"):
                call["extra_content"] = {"google": {"thought_signature": part["thoughtSignature"]}}
            self.calls.append(call)
            self.tokens += 1
        elif part.get("text"):
            if part.get("thought"):
                self.thought += part["text"]
            else:
                self.text += part["text"]
            self.tokens += 1
        elif not part.keys() <= {"text", "thought", "thoughtSignature"}:
            raise ValueError("a part of the answer is of no known kind")


def ending(candidate: JsonObject, *, called: bool) -> JsonObject:
    """What a choice says about its end: nothing yet, or why, with the categories of what was filtered."""
    reason = candidate.get("finishReason")
    if reason is None:
        return {"finish_reason": None}
    finish = _FINISH.get(reason, "stop")
    if finish == "content_filter":
        results = filtered(candidate.get("safetyRatings"), reason)
        return {"finish_reason": finish, "native_finish_reason": reason, "content_filter_results": results}
    return {"finish_reason": "tool_calls" if called and finish == "stop" else finish, "native_finish_reason": reason}


def filtered(ratings: Any, reason: str) -> JsonObject:
    """The categories that blocked an answer or a prompt; the reason itself where none is named."""
    found: JsonObject = {}
    for rating in ratings or ():
        if rating.get("blocked"):
            name = str(rating.get("category", "")).removeprefix("HARM_CATEGORY_").lower()
            severity = str(rating.get("probability", "")).lower()
            found[_CATEGORIES.get(name, name)] = {"filtered": True, "severity": severity or None}
    return found or {reason.lower(): {"filtered": True}}


def logprobs_of(candidate: JsonObject) -> JsonObject | None:
    """Log probabilities in OpenAI's shape."""
    result = candidate.get("logprobsResult")
    if not result:
        return None
    tops = result.get("topCandidates") or ()
    content = []
    for place, chosen in enumerate(result.get("chosenCandidates") or ()):
        others = tops[place].get("candidates") or () if place < len(tops) else ()
        content.append({**_logprob(chosen), "top_logprobs": [_logprob(one) for one in others]})
    return {"content": content, "refusal": None}


def _logprob(one: JsonObject) -> JsonObject:
    token = one.get("token", "")
    return {"token": token, "logprob": one.get("logProbability", 0.0), "bytes": list(token.encode())}


def message_of(said: Said) -> JsonObject:
    """A whole message."""
    message: JsonObject = {"role": "assistant", "content": said.text if said.text or not said.calls else None}
    message["refusal"] = None
    if said.thought:
        message["reasoning_content"] = said.thought
    if said.calls:
        message["tool_calls"] = [{name: call[name] for name in call if name != "index"} for call in said.calls]
    return message


def delta_of(said: Said, *, first: bool) -> JsonObject:
    """A piece of a message; the first one names the role."""
    delta: JsonObject = {"role": "assistant"} if first else {}
    if said.text or (first and not said.calls and not said.thought):
        delta["content"] = said.text
    if said.thought:
        delta["reasoning_content"] = said.thought
    if said.calls:
        delta["tool_calls"] = said.calls
    return delta


def error_status(error: Any) -> int:
    """The HTTP status that an error inside an answer means."""
    code = error.get("code") if type(error) is dict else None
    return code if type(code) is int and 400 <= code < 600 else 500
