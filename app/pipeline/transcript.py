"""What an answer said, read along while it passes: for gates, comparisons and traces.

Only these requests have one: those that a rollout observes whose gates read answers, those that are copied and their
copies, and those whose trace is to hold what was said. Of several choices the first is read; what is longer than
`LONGEST` characters, text and calls of tools together, is cut, and says so.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from app.exchange import Batch, JsonObject

LONGEST = 64 * 1024


class ToolCall(NamedTuple):
    """A function that the model wants called, with its arguments as it wrote them."""

    name: str
    arguments: str


class Transcript:
    """`finish` is why the answer ended, as the upstream says; `refusal` tells that it declared its answer as one."""

    __slots__ = ("_pieces", "_size", "_tools", "cut", "finish", "refusal")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._size = 0
        self._tools: dict[int, list[str]] = {}
        self.cut = False
        self.finish = ""
        self.refusal = False

    @property
    def text(self) -> str:
        """The answer's text."""
        return "".join(self._pieces)

    @property
    def tools(self) -> tuple[ToolCall, ...]:
        """The calls of tools, in their order."""
        return tuple(ToolCall(name, arguments) for name, arguments in self._tools.values())

    def add(self, batch: Batch) -> None:
        """Read what has come. Whatever an upstream made of its events, this does not fail."""
        for event in batch:
            choices = event.doc.get("choices")
            if type(choices) is list:
                for choice in choices:
                    if type(choice) is dict and not choice.get("index"):
                        self._choice(choice)

    def _choice(self, choice: JsonObject) -> None:
        said = choice.get("delta") or choice.get("message")
        if type(said) is dict:
            self._say(said.get("content"))
            if type(said.get("refusal")) is str and said["refusal"]:
                self.refusal = True
                self._say(said["refusal"])
            if type(said.get("tool_calls")) is list:
                for place, call in enumerate(said["tool_calls"]):
                    self._tool(place, call)
        else:
            self._say(choice.get("text"))
        finish = choice.get("finish_reason")
        if type(finish) is str:
            self.finish = finish

    def _say(self, text: Any) -> None:
        if type(text) is not str or not text:
            return
        room = LONGEST - self._size
        if len(text) > room:
            self.cut = True
            text = text[:room]
        self._size += len(text)
        self._pieces.append(text)

    def _tool(self, place: int, call: Any) -> None:
        function = call.get("function") if type(call) is dict else None
        if type(function) is not dict:
            return
        index = call.get("index", place)
        known = self._tools.setdefault(index if type(index) is int else place, ["", ""])
        for slot, name in enumerate(("name", "arguments")):
            value = function.get(name)
            if type(value) is str:
                room = max(0, LONGEST - self._size)
                self.cut = self.cut or len(value) > room
                self._size += min(len(value), room)
                known[slot] += value[:room]
