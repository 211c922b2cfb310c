"""The texts of one event of an answer, each by the path that tells it apart; and how to write another in its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from app.exchange import JsonObject

PLAIN: Final = frozenset(("role", "type", "id", "index", "object", "finish_reason", "stop_reason", "data", "format"))
"""Names inside a piece of an answer whose values are no text that is read."""

Path = tuple[int | str, ...]


def texts(doc: JsonObject) -> Iterator[tuple[Path, str]]:
    """Every text that is not empty, with its path: the choice's index, then names and numbers inside the choice."""
    for choice in doc.get("choices") or ():
        index = choice.get("index", 0)
        for name in ("delta", "message", "text"):
            value = choice.get(name)
            if value:
                yield from _inside(value, (index, "text") if name == "text" else (index,), name)


def _inside(value: Any, path: Path, name: int | str) -> Iterator[tuple[Path, str]]:
    if type(value) is str:
        if value and name not in PLAIN:
            yield path, value
    elif type(value) is dict:
        for inner, one in value.items():
            yield from _inside(one, (*path, inner), inner)
    elif type(value) is list:
        for position, one in enumerate(value):
            number = one.get("index", position) if type(one) is dict else position
            yield from _inside(one, (*path, number), number)


def put(choice: JsonObject, path: Path, text: str) -> bool:
    """Write over the text at a path inside a choice; whether there was one."""
    names = path[1:]
    node: Any = choice
    if names != ("text",):
        node = choice.get("message", choice.get("delta"))
    for name in names[:-1]:
        if type(node) is list:
            node = next((one for position, one in enumerate(node) if _number(one, position) == name), None)
        elif type(node) is dict:
            node = node.get(name)
    last: Any = names[-1]
    if type(node) is dict and type(node.get(last)) is str:
        node[last] = text
        return True
    if type(node) is list and type(last) is int and last < len(node) and type(node[last]) is str:
        node[last] = text
        return True
    return False


def _number(one: Any, position: int) -> object:
    return one.get("index", position) if type(one) is dict else position
