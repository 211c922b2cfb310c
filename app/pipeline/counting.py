"""How many tokens can a prompt be at most? Bounds from bytes, which hold whatever the tokenizer; and what is stated.

No tokenizer makes more tokens than the text it works on has bytes. That text may be the prompt normalised (NFC or
NFKC), which may be longer, and a chat template adds its own: both are accounted for here. `docs/tokens.md` states the
bounds, and property tests hold them against real tokenizers.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import orjson

from app.exchange import Call, Count, CountMethod, JsonObject, Operation, Scaffold
from app.table import Deployment

LARGE: Final = 65_536
"""Bytes. A body that is larger, and not plain, is looked at off the event loop."""
MESSAGE_TOKENS: Final = 16
"""What a chat template may put around one message: markers, the role, line breaks."""
TOOLS_TOKENS: Final = 1024
"""What a chat template, or a provider, may say about tools in general once there are any."""
_SCAFFOLD_FRAME: Final = 64
"""Bytes around a scaffold: those of a message, and the line break before what the caller says."""
IMAGES: Final = frozenset({"image_url", "input_image", "image"})
_TEXTS: Final = frozenset({"text", "input_text", "output_text", "refusal", "thinking", "reasoning"})
_PAIRED: Final = frozenset({Operation.RERANK, Operation.SCORE})
_SLICE: Final = 16_384
"""Characters."""
_REORDERED: Final = 4
"""Bytes that a combining mark may add by taking another mark's place in a composed character."""


def bound(call: Call, deployment: Deployment, size: int | None = None) -> Count:
    """The bound from bytes of a call's prompts; `size` is its `body_bound`, where that is known.

    The whole body counts, also what is no prompt: its punctuation alone outweighs the markers around each message.
    What nobody has put a bound on (images without `image_tokens`, sound, files) may fill the window, and no more:
    an upstream refuses what does not fit.
    """
    size = most_bytes(call, deployment, body_bound(call) if size is None else size)
    if size is None:
        window = deployment.context_window
        return Count(window * call.prompts, window, 0, CountMethod.BOUND)
    return Count(size, size, 0, CountMethod.BOUND)


def body_bound(call: Call) -> int:
    """The part of the bound that is the same whoever is asked: the body, normalised, and what tools add to it."""
    size = call.size if call.plain else _grown(call)
    if call.operation is Operation.CHAT and ("tools" in call.body or "functions" in call.body):
        size += tools_bound(call.body)
    return size


def most_bytes(call: Call, deployment: Deployment, size: int) -> int | None:
    """The bound as a number, from the call's `body_bound`; None where there is none."""
    if call.operation is not Operation.CHAT:
        return size
    if call.images or call.media:
        if call.media or deployment.image_tokens is None:
            return None
        size += call.images * deployment.image_tokens
    if (scaffold := scaffold_of(call, deployment)) is not None:
        size += scaffold_bytes(scaffold)
    if (style := deployment.prompt_format) is not None:
        size += style.most_bytes * (len(call.body["messages"]) + 2)
    return size + deployment.template_tokens


def scaffold_of(call: Call, deployment: Deployment) -> Scaffold | None:
    """What a deployment is told before the messages of this call; None where nothing is."""
    if call.scaffolds is None or "messages" not in call.body:
        return None
    return call.scaffolds.get(deployment.name)


@lru_cache(maxsize=256)
def scaffold_bytes(scaffold: Scaffold) -> int:
    """The bound of a scaffold, which may be a message of its own."""
    return len(scaffold.text.encode()) + growth(scaffold.text) + _SCAFFOLD_FRAME


def tools_bound(body: JsonObject) -> int:
    """What tools add to their own bytes: instructions, and the indentation with which templates write them out."""
    tools = body.get("tools") or body.get("functions")
    if not tools:
        return 0
    return TOOLS_TOKENS + 2 * len(orjson.dumps(tools, option=orjson.OPT_INDENT_2))


def _grown(call: Call) -> int:
    """The body's bytes, and those by which its text may grow when it is normalised, wherever it is read again."""
    return call.size + times_read(call) * sum(growth(text) for text in texts(call.body)) if call.size else 0


def times_read(call: Call) -> int:
    """How often an upstream reads one text of a call, at most: a query with each document."""
    return call.prompts if call.operation in _PAIRED else 1


def media(messages: Sequence[JsonObject]) -> tuple[int, int]:
    """How many parts of messages are images, and how many are neither image nor text."""
    images = other = 0
    for message in messages:
        content = message.get("content")
        if type(content) is list:
            for part in content:
                kind = part.get("type") if type(part) is dict else None
                known = kind if type(kind) is str else ""
                images += known in IMAGES
                other += known not in IMAGES and known not in _TEXTS
    return images, other


def texts(node: Any) -> Iterator[str]:
    """Every text in a JSON value, names of fields included."""
    if type(node) is str:
        yield node
    elif type(node) is list:
        for inner in node:
            yield from texts(inner)
    elif type(node) is dict:
        yield from node
        for inner in node.values():
            yield from texts(inner)


def growth(text: str) -> int:
    """By how many bytes of UTF-8 a text may grow under NFC or NFKC, at most.

    A long text is looked at slice by slice, so that other threads have their turns; a mark at the head of a slice may
    belong to the character before it.
    """
    if len(text) <= _SLICE:
        return _growth(text)
    starts = range(0, len(text), _SLICE)
    return sum(_growth(text[at : at + _SLICE]) for at in starts) + _REORDERED * (len(starts) - 1)


def _growth(text: str) -> int:
    if text.isascii() or unicodedata.is_normalized("NFKC", text):
        return 0
    return sum(text.count(char) * grows for char in set(text) if (grows := _grows(char)))


@lru_cache(maxsize=16_384)
def _grows(char: str) -> int:
    size = len(char.encode("utf-8", "surrogatepass"))
    longest = max(len(unicodedata.normalize(form, char).encode("utf-8", "surrogatepass")) for form in ("NFC", "NFKC"))
    return max(longest - size, 0) + (_REORDERED if unicodedata.combining(char) else 0)
