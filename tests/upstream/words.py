"""Deterministic tokens. One token is one word with the space before it, so counts can be checked by eye.

The rule: a text is cut before every space. `"a b  c"` is `["a", " b", " ", " c"]`; joining the tokens gives the text
back. So a text has as many tokens as it has spaces, plus one when it does not begin with one. A newline cuts nothing.
A prompt costs 3 tokens per message on top of its texts, 85 per image, audio or file part, 8 per tool offered.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson

PER_MESSAGE = 3
PER_ATTACHMENT = 85
PER_TOOL = 8
VOCABULARY_LIMIT = 1_000_000

_PLAIN_TEXT = (
    "the river rises behind the gate and the keeper opens it by a hand and measures what flows until the water "
    "below stands level with what the millers asked for and not one bucket more than they paid for this season"
)
_PLAIN = _PLAIN_TEXT.split(" ")
_UNICODE_TEXT = "Ωmega naïve 水門 шлюз ворота 🌊 Schleuse écluse 수문 ½ 👩‍🔧 ß łódź"
_UNICODE = _UNICODE_TEXT.split(" ")


def pieces(text: str) -> list[str]:
    """The tokens of a text."""
    parts = text.split(" ")
    tokens = [" " + part for part in parts]
    tokens[0] = parts[0]
    return tokens if tokens[0] else tokens[1:]


def count(text: str) -> int:
    """How many tokens `pieces` would give."""
    return text.count(" ") + (1 if text and text[0] != " " else 0)


@lru_cache(maxsize=1024)
def generated(amount: int, offset: int, *, unicode: bool) -> tuple[str, ...]:
    """`amount` tokens of running text; the same arguments give the same text."""
    words = _UNICODE if unicode else _PLAIN
    tokens = [" " + words[(offset + k) % len(words)] for k in range(amount)]
    if tokens:
        tokens[0] = tokens[0][1:]
    return tuple(tokens)


@lru_cache(maxsize=1024)
def quoted(tokens: tuple[str, ...]) -> tuple[bytes, ...]:
    """Each token as a JSON string, quotes included."""
    return tuple(orjson.dumps(token) for token in tokens)


def content_text(content: Any) -> str:
    """The text of a message's `content`: a string, or the text parts of a list, joined by a space."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(
            part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return ""


def message_tokens(messages: list[Any]) -> int:
    """Prompt tokens of a list of chat messages, tool calls of the assistant included."""
    total = 0
    for message in messages:
        total += PER_MESSAGE
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            total += content.count(" ") + (1 if content and content[0] != " " else 0)
        elif isinstance(content, list):
            total += count(content_text(content))
            total += PER_ATTACHMENT * sum(
                1 for part in content if isinstance(part, dict) and part.get("type") not in {"text", "refusal"}
            )
    return total


class Vocabulary:
    """Numbers for words, given out in the order in which they are first seen; so `/detokenize` undoes `/tokenize`."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._words: list[str] = []

    def ids(self, text: str) -> list[int]:
        """The token numbers of a text."""
        return [self._id(piece) for piece in pieces(text)]

    def text(self, ids: list[int]) -> str:
        """The text of token numbers; an unknown one becomes ` #n`."""
        return "".join(self._words[n] if 0 <= n < len(self._words) else f" #{n}" for n in ids)

    def _id(self, piece: str) -> int:
        known = self._ids.get(piece)
        if known is not None:
            return known
        if len(self._words) >= VOCABULARY_LIMIT:
            message = "the fake upstream's vocabulary is full"
            raise OverflowError(message)
        self._ids[piece] = len(self._words)
        self._words.append(piece)
        return len(self._words) - 1
