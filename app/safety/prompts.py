"""Every text of a request that a model will read, and whose it is.

Messages, their text parts, tool results, earlier tool calls, prompts, inputs, tools' descriptions, documents, and every
other text in fields that are not plain settings: an upstream may make a prompt of what this gateway has never heard of.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from app.exchange import JsonObject, made
from app.safety.detector import Passage

_SETTINGS: Final = frozenset(
    (
        "audio", "best_of", "echo", "encoding_format", "dimensions", "frequency_penalty", "ignore_eos",
        "include_reasoning",
        "length_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "metadata", "min_p",
        "min_tokens", "modalities", "model", "n", "parallel_tool_calls", "presence_penalty", "priority",
        "prompt_cache_key", "reasoning_effort", "repetition_penalty", "safety_identifier", "seed", "service_tier",
        "skip_special_tokens", "stop", "store", "stream", "stream_options", "temperature", "tool_choice", "top_k",
        "top_logprobs", "top_p", "truncate_prompt_tokens", "use_beam_search", "user", "verbosity",
    )
)  # fmt: skip
"""Fields whose text no model reads as a prompt."""
_PLAIN: Final = frozenset(("role", "type", "id", "tool_call_id", "detail", "format", "index", "strict", "file_id"))
"""Names inside messages and tools whose values are no text."""
_BINARY: Final = frozenset(("data", "file_data", "url"))
"""Names whose values may be an encoded image, sound or file: not looked at."""
MOST_DEPTH: Final = 64


class Slot(NamedTuple):
    """A text, where it stands in the body, and whose it is."""

    holder: Any
    place: str | int
    text: str
    role: str

    @property
    def escaped(self) -> bool:
        """Whether it is JSON text."""
        return self.place == "arguments"

    def put(self, text: str) -> None:
        """Write another text in its place."""
        self.holder[self.place] = text


class TokenIds(ValueError):
    """A prompt of token ids, which nobody here can read."""


def slots(body: JsonObject) -> list[Slot]:
    """Every text. Raises `TokenIds`."""
    found: list[Slot] = []
    for name, value in body.items():
        if name in _SETTINGS:
            continue
        if name == "messages" and type(value) is list:
            for message in value:
                _message(message, found)
        elif name in ("prompt", "input"):
            _inputs(body, name, value, found)
        elif name == "documents":
            found += _walk(body, name, value, "document", 0)
        else:
            found += _walk(body, name, value, "system" if name == "instructions" else "user", 0)
    return found


def _message(message: JsonObject, found: list[Slot]) -> None:
    role = message["role"]
    for name, value in message.items():
        if type(value) is str:
            if name not in _PLAIN:
                found.append(made(Slot, (message, name, value, role)))
        elif value:
            found += _walk(message, name, value, role, 0)


def _inputs(body: JsonObject, name: str, value: Any, found: list[Slot]) -> None:
    if type(value) is str:
        found.append(Slot(body, name, value, "user"))
    elif type(value) is list:
        for index, one in enumerate(value):
            if type(one) is str:
                found.append(Slot(value, index, one, "user"))
            elif type(one) is dict:
                found += _walk(value, index, one, "user", 0)
            else:
                raise TokenIds


def _walk(holder: Any, place: str | int, value: Any, role: str, depth: int) -> Iterator[Slot]:
    """The texts inside any JSON value."""
    if type(value) is str:
        if place not in _PLAIN and not (place in _BINARY and _is_encoded(value)):
            yield Slot(holder, place, value, role)
    elif depth < MOST_DEPTH:
        if type(value) is dict:
            for name, inner in value.items():
                yield from _walk(value, name, inner, role, depth + 1)
        elif type(value) is list:
            for index, inner in enumerate(value):
                yield from _walk(value, index, inner, role, depth + 1)


def _is_encoded(value: str) -> bool:
    return value.startswith("data:") or (len(value) > 512 and " " not in value[:512])


def passages(found: list[Slot]) -> tuple[Passage, ...]:
    """The texts as detectors get them."""
    return tuple(Passage(slot.text, slot.role) for slot in found if slot.text)


class Joined:
    """All texts as one, with a separator between them."""

    __slots__ = ("_begins", "_ends", "text")

    def __init__(self, texts: list[str], separator: str) -> None:
        self.text = texts[0] if len(texts) == 1 else separator.join(texts)
        self._begins: list[int] = []
        self._ends: list[int] = []
        place = 0
        for text in texts:
            self._begins.append(place)
            place += len(text)
            self._ends.append(place)
            place += len(separator)

    def pieces(self, start: int, end: int) -> list[tuple[int, int, int]]:
        """A stretch of the whole as pieces of the texts: index of the text, start and end in it."""
        found: list[tuple[int, int, int]] = []
        index = max(bisect_right(self._begins, start) - 1, 0)
        while index < len(self._begins) and self._begins[index] < end:
            begin = self._begins[index]
            first, last = max(start, begin), min(end, self._ends[index])
            if first < last:
                found.append((index, first - begin, last - begin))
            index += 1
        return found
