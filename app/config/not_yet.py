"""Settings that are part of the file's contract and do nothing yet. Written in a file, they are refused.

Whoever builds a capability deletes its lines here. A value that is "off" may be written: it asks for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.config.problems import Loc, Problem, show
from app.config.raw import Document

CONTENT = "the redactor of traced content"


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """A setting, the capability that will read it, and the values that ask for nothing.

    In a pattern `[]` is any element of a list.
    """

    pattern: str
    capability: str
    off: tuple[object, ...] = ()


NOT_YET = (Unbuilt("telemetry.capture_content", CONTENT, (False,)),)

_NOTHING: tuple[object, ...] = (None, (), {})


def unbuilt(document: Document) -> list[Problem]:
    """Every setting of the document that does nothing yet."""
    return [
        Problem(show(loc), document.line(loc), f"does nothing yet: it waits for {entry.capability}", _hint(entry))
        for entry in NOT_YET
        for loc, value in _find(document.root, entry.pattern.split("."), ())
        if not _is_off(value, entry)
    ]


def _is_off(value: Any, entry: Unbuilt) -> bool:
    if isinstance(value, dict):
        return all(_is_off(inner, entry) for inner in value.values())
    if isinstance(value, tuple):
        return all(_is_off(inner, entry) for inner in value)
    return any(value == off and isinstance(value, bool) == isinstance(off, bool) for off in (*_NOTHING, *entry.off))


def _hint(entry: Unbuilt) -> str:
    values = " or ".join(f"`{str(value).lower()}`" for value in entry.off)
    return f"So far it can be {values}." if values else "Remove it."


def _find(node: Any, parts: list[str], loc: Loc) -> Iterator[tuple[Loc, Any]]:
    if not parts:
        yield loc, node
        return
    name, rest = parts[0].removesuffix("[]"), parts[1:]
    if not isinstance(node, dict) or name not in node:
        return
    inner = node[name]
    if not parts[0].endswith("[]"):
        yield from _find(inner, rest, (*loc, name))
    elif isinstance(inner, tuple):
        for index, element in enumerate(inner):
            yield from _find(element, rest, (*loc, name, index))
