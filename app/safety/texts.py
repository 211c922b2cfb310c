"""The texts of one event of an answer, each by the path that tells it apart; and how to write another in its place."""

from __future__ import annotations

from typing import Any, Final

from app.exchange import JsonObject

PLAIN: Final = frozenset(("role", "type", "id", "index", "object", "finish_reason", "stop_reason", "data", "format"))
"""Names inside a piece of an answer whose values are no text that is read."""

HOLDERS: Final = ("delta", "message", "text")
"""What of a choice has texts."""

Path = tuple[int | str, ...]


def texts(doc: JsonObject) -> list[tuple[Path, str]]:
    """Every text that is not empty, with its path: the choice's index, then names and numbers inside the choice."""
    found: list[tuple[Path, str]] = []
    for choice in doc.get("choices") or ():
        index = choice.get("index", 0)
        for name in HOLDERS:
            value = choice.get(name)
            if value:
                _gather(value, (index, "text") if name == "text" else (index,), name, found)
    return found


def _gather(value: Any, path: Path, name: int | str, found: list[tuple[Path, str]]) -> None:
    if type(value) is str:
        if name not in PLAIN:
            found.append((path, value))
    elif type(value) is dict:
        for inner, one in value.items():
            if one:
                _gather(one, (*path, inner), inner, found)
    elif type(value) is list:
        for position, one in enumerate(value):
            if one:
                number = number_of(one, position)
                _gather(one, (*path, number), number, found)


def put(choice: JsonObject, path: Path, text: str) -> bool:
    """Write over the text at a path inside a choice; whether there was one."""
    names = path[1:]
    node: Any = choice
    if names != ("text",):
        node = choice.get("message", choice.get("delta"))
    for name in names[:-1]:
        if type(node) is list:
            node = next((one for position, one in enumerate(node) if number_of(one, position) == name), None)
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


def number_of(one: Any, position: int) -> int:
    """What tells an element of a list apart in a path: the number that it gives itself, else its place."""
    number = one.get("index") if type(one) is dict else None
    return number if type(number) is int else position
