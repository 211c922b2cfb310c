"""Every setting as the reference page tells it, read from the models: the page cannot say what the code does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from app.config.fields import change, section, walk
from app.config.not_yet import NOT_YET
from app.config.secret import KeySecret, Secret
from app.config.types import CATALOGUE, Change, Default, Label, Settings

_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most"}
IN_WORDS = ("required", CATALOGUE.text)
"""Defaults that are no values."""
_PLAIN = {bool: "true or false", int: "whole number", float: "number", str: "text"}


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of the page.

    `path` writes `[]` for any element of a list, `default` is `required` where there is none, and `change` tells when
    a changed value takes effect: on `reload`, on `restart`, or `not yet`; empty for a section.
    """

    path: str
    type: str
    default: str
    change: str
    meaning: str


def settings() -> Iterator[Setting]:
    """Every setting of the file, depth first."""
    restart: tuple[str, ...] = ()
    for path, field in walk():
        if change(field) is Change.RESTART:
            restart = (*restart, f"{path}.")
        when = Change.RESTART if f"{path}.".startswith(restart or " ") else Change.RELOAD
        kind = _type(field.annotation, field.metadata)
        effect = _unbuilt(path) or ("" if kind.endswith("section") else when.value)
        yield Setting(path, kind, _default(field), effect, " ".join((field.description or "").split()))


def _unbuilt(path: str) -> str:
    for entry in NOT_YET:
        inside = path.removesuffix("[]") == entry.pattern or path.startswith(
            (f"{entry.pattern}.", f"{entry.pattern}[].")
        )
        if inside:
            values = ", ".join(f"`{str(value).lower()}`" for value in entry.off)
            return f"only {values} so far" if values else "not yet"
    return ""


def _default(field: FieldInfo) -> str:
    filled = next((mark.text for mark in field.metadata if isinstance(mark, Default)), None)
    if field.is_required():
        return filled or "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Settings):
        return _section_default(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value if not isinstance(value, float | Decimal) else f"{value:g}").replace("()", "[]")


def _section_default(value: Settings) -> str:
    written = value.model_dump(include=value.model_fields_set)
    return "{" + ", ".join(f"{name}: {{}}" for name in written) + "}"


def _type(annotation: Any, metadata: Any = ()) -> str:
    """What a value looks like, in words."""
    label = next((mark.text for mark in metadata if isinstance(mark, Label)), None)
    if label is not None:
        return label + _bounds(metadata)
    if get_origin(annotation) is not None:
        return _composed(annotation, metadata)
    if isinstance(annotation, type) and issubclass(annotation, Secret | KeySecret):
        return "reference"
    return "section" if section(annotation) is not None else _PLAIN[annotation] + _bounds(metadata)


def _composed(annotation: Any, metadata: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0], (*_flat(inner[1:]), *metadata))
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in inner)
    if origin is tuple:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return f"{_type(inner[1])} by {_type(inner[0])}"
    return " or ".join(_type(part, metadata) for part in inner if part is not type(None))


def _flat(metadata: tuple[Any, ...]) -> Iterator[Any]:
    for mark in metadata:
        yield from mark.metadata if isinstance(mark, FieldInfo) else (mark,)


def _bounds(metadata: Any) -> str:
    # By name: pydantic keeps bounds as marks of a library that it brings along and that is not ours to import.
    found = {kind: getattr(mark, kind) for mark in metadata if (kind := type(mark).__name__.lower()) in _BOUNDS}
    if "gt" in found:
        found.pop("ge", None)
    if "ge" in found and "le" in found:
        return f", {found['ge']} to {found['le']}"
    return "".join(f", {_BOUNDS[kind]} {value}" for kind, value in found.items())
