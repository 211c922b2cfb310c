"""What settings exist, read from the models: for hints, for the reference page, for reload."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic.fields import FieldInfo

from app.config.problems import Loc
from app.config.schema import Config
from app.config.types import Change, Settings


def section(annotation: Any) -> type[Settings] | None:
    """The section inside an annotation such as `tuple[Deployment, ...]` or `Ops | None`; None for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    return next((found for part in get_args(annotation) if (found := section(part))), None)


def walk(model: type[Settings] = Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting with its path; `[]` stands for any element of a list."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        yield path, field
        inner = section(field.annotation)
        if inner is not None:
            yield from walk(inner, f"{path}[]." if is_list(field) else f"{path}.")


def is_list(field: FieldInfo) -> bool:
    """Whether the field is a list of sections."""
    return "tuple[" in str(field.annotation)


def change(field: FieldInfo) -> Change:
    """When a changed value takes effect."""
    return next((mark for mark in field.metadata if isinstance(mark, Change)), Change.RELOAD)


def restart_only() -> list[str]:
    """The paths of the settings that a running process cannot change."""
    return [path for path, field in walk() if change(field) is Change.RESTART]


def at(loc: Loc) -> FieldInfo | None:
    """The field at a location; None where there is none."""
    model: type[Settings] | None = Config
    field: FieldInfo | None = None
    for part in loc:
        if isinstance(part, str):
            field = model.model_fields.get(part) if model is not None else None
            model = section(field.annotation) if field is not None else None
    return field


def names(loc: Loc) -> list[str]:
    """The names that may stand in the section at a location."""
    if not loc:
        return list(Config.model_fields)
    field = at(loc)
    inner = section(field.annotation) if field is not None else None
    return list(inner.model_fields) if inner is not None else []
