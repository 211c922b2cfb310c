"""What was asked and answered, as OpenTelemetry's GenAI conventions have it in spans: JSON of messages with parts.

Only for `telemetry.capture_content`. Every text goes through `redact` before it is put anywhere; what is no text
(images, sound, files) is told by its kind alone. Format: the conventions' schemas of `gen_ai.input.messages` and
`gen_ai.output.messages`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from app.exchange import Call, JsonObject
from app.pipeline.transcript import Transcript

MOST = 32 * 1024
"""Characters of a prompt, and of an answer, that a span holds."""
_LONGEST_FINDING = 1024
"""Characters of the longest thing that is redacted."""
_LONGEST_NAME = 64
"""Characters of a role, a kind of part, a reason to finish."""
Redact = Callable[[str], str]


def cleaned(text: str, redact: Redact, most: int, *, torn: bool = False) -> tuple[str, bool]:
    """A text as it may be kept: redacted, then cut at `most` characters; and whether it is cut.

    Redacted first, or the first half of a number would stay where the cut goes through it. Of a very long text no more
    is looked at than may be needed. Where that ends, and where a `torn` text ends that was cut before, may stand a part
    of something: as much as that may have is left out.
    """
    torn = torn or len(text) > most + _LONGEST_FINDING
    clean = redact(text[: most + _LONGEST_FINDING])
    end = max(len(clean) - _LONGEST_FINDING, 0) if torn else len(clean)
    return clean[: min(end, most)], torn or end > most


class _Paper:
    """Takes texts until it is full."""

    def __init__(self, redact: Redact) -> None:
        self._redact = redact
        self._room = MOST
        self.cut = False

    def text(self, text: str) -> str:
        """The text, redacted, as far as there is room."""
        if not self._room:
            self.cut = self.cut or bool(text)
            return ""
        kept, cut = cleaned(text, self._redact, self._room)
        self.cut = self.cut or cut
        self._room -= max(len(kept), min(len(text), self._room))
        return kept

    def say(self, content: Any) -> list[JsonObject]:
        """The parts of a message's content."""
        if type(content) is str:
            return [{"type": "text", "content": self.text(content)}]
        parts = content if type(content) is list else []
        return [self._part(part) for part in parts if type(part) is dict]

    def _part(self, part: JsonObject) -> JsonObject:
        if type(part.get("text")) is str:
            return {"type": "text", "content": self.text(part["text"])}
        kind = part.get("type")
        return {"type": kind[:_LONGEST_NAME] if type(kind) is str else "unknown"}

    def calls(self, calls: Any) -> list[JsonObject]:
        """The parts of calls of tools, in OpenAI's shape."""
        functions = [call.get("function") for call in calls if type(call) is dict] if type(calls) is list else []
        return [
            self.tool(str(one.get("name", "")), str(one.get("arguments", ""))) for one in functions if type(one) is dict
        ]

    def tool(self, name: str, arguments: str) -> JsonObject:
        """One call of a tool."""
        return {"type": "tool_call", "name": self.text(name), "arguments": self.text(arguments)}


def asked(call: Call, redact: Redact) -> tuple[str, bool]:
    """The prompt of a request, and whether it is cut."""
    paper, body = _Paper(redact), call.body
    messages = body.get("messages")
    if type(messages) is not list:
        texts = body.get("prompt", body.get("input"))
        several = texts if type(texts) is list else [texts]
        messages = [{"role": "user", "content": text} for text in several if type(text) is str]
    told = [
        {
            "role": str(one.get("role", ""))[:_LONGEST_NAME],
            "parts": [*paper.say(one.get("content")), *paper.calls(one.get("tool_calls"))],
        }
        for one in messages
        if type(one) is dict
    ]
    return orjson.dumps(told).decode(), paper.cut


def answered(said: Transcript, redact: Redact) -> tuple[str, bool]:
    """The answer to it, its first choice, and whether it is cut."""
    paper = _Paper(redact)
    parts = [*paper.say(said.text or None), *(paper.tool(*one) for one in said.tools)]
    told = [{"role": "assistant", "parts": parts, "finish_reason": said.finish[:_LONGEST_NAME]}]
    return orjson.dumps(told).decode(), paper.cut or said.cut
