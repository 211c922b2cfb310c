"""Validation errors in an operator's words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from app.config.fields import at, names
from app.config.problems import Loc, Problem, show
from app.config.raw import Document

_QUOTES = "Put it in quotes if it is text that looks like a number or like `true`."
_MESSAGES: Mapping[str, tuple[str, str | None]] = {
    "string_type": ("must be text", _QUOTES),
    "int_type": ("must be a whole number", None),
    "int_from_float": ("must be a whole number", None),
    "float_type": ("must be a number", None),
    "finite_number": ("must be a finite number", None),
    "bool_type": ("must be true or false", None),
    "tuple_type": ("must be a list", "Write `[a, b]`, or one `- a` a line."),
    "dict_type": ("must be a section with names and values", "Write `{name: value}`, or one `name: value` a line."),
    "model_type": ("must be a section with names and values", "Write `{name: value}`, or one `name: value` a line."),
    "greater_than": ("must be more than {gt}", None),
    "greater_than_equal": ("must be at least {ge}", None),
    "less_than_equal": ("must be at most {le}", None),
    "string_too_short": ("must not be empty", None),
    "string_too_long": ("must have at most {max_length} characters", None),
    "too_short": ("must not be empty", None),
    "too_long": ("must have at most {max_length} elements", None),
    "string_pattern_mismatch": ("is not of the form `{pattern}`", None),
}
_LONGEST = 60


def explain(error: ValidationError, prefix: Loc, document: Document) -> list[Problem]:
    """The errors as problems; `prefix` is the location of what was validated."""
    details = [dict(detail) for detail in error.errors(include_url=False)]
    return [_problem(detail, prefix, document) for detail in details if not _follows(detail, details)]


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names what was probably meant, or else everything that may stand here."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean `{close[0]}`?" if close else f"Known here: {', '.join(f'`{name}`' for name in known)}."


def _follows(detail: Mapping[str, Any], details: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a list is called too short only because elements that stand in it are wrong."""
    loc = detail["loc"]
    return detail["type"] == "too_short" and any(
        other["loc"][: len(loc)] == loc and len(other["loc"]) > len(loc) for other in details
    )


def _problem(detail: Mapping[str, Any], prefix: Loc, document: Document) -> Problem:
    loc: Loc = (*prefix, *detail["loc"])
    kind, context = detail["type"], detail.get("ctx", {})
    hint: str | None
    if loc and loc[-1] == "[key]":
        loc = loc[:-1]
    if kind == "extra_forbidden":
        message, hint = "is not a setting", nearest(str(loc[-1]), names(loc[:-1]))
    elif kind == "missing":
        message, hint = "is required", _meaning(loc)
    elif kind == "literal_error":
        message, hint = _choice(detail["input"], context["expected"])
    elif kind == "wrong":
        message, hint = context["message"], context["hint"]
    else:
        template, hint = _MESSAGES.get(kind, (detail["msg"], None))
        message = template.format(**_written(context)) if kind in _MESSAGES else template
    return Problem(show(loc), document.line(loc), message, hint)


def _written(context: Mapping[str, Any]) -> dict[str, Any]:
    """Bounds as an operator would write them: 100, not 100.0."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in context.items()
    }


def _meaning(loc: Loc) -> str | None:
    field = at(loc)
    return field.description if field is not None else None


def _choice(value: object, expected: str) -> tuple[str, str]:
    choices = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
    shown = f", not `{value}`" if isinstance(value, str | int) and len(str(value)) <= _LONGEST else ""
    return f"must be one of {', '.join(f'`{choice}`' for choice in choices)}{shown}", nearest(str(value), choices)
