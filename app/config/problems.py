"""What is wrong with a configuration, told so that an operator can mend it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from pydantic_core import PydanticCustomError

_LONGEST = 80

Loc = tuple[str | int, ...]
"""Where a value stands in the document: `("deployments", 1, "price", "input")`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    `path` is the place in the file as an operator reads it (`deployments[1].price.input`; empty for the whole
    file), `line` counts from 1 and is None where no line is to blame, `hint` says what would be right.
    No secret value ever stands in any of them.
    """

    path: str
    line: int | None
    message: str
    hint: str | None = None


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds everything that was found, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(describe(problems))
        self.problems = list(problems)


def show(loc: Loc) -> str:
    """A location as it is written in messages and in the docs."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part[:_LONGEST]}" if text else part[:_LONGEST]
    return text


def describe(problems: Iterable[Problem]) -> str:
    """The problems for a person, one block each: place, message, and what would be right."""
    return "\n".join(_block(problem) for problem in problems)


def as_json(problems: Iterable[Problem]) -> list[dict[str, str | int | None]]:
    """The problems for a machine; keys `path`, `line`, `message`, `hint`."""
    return [asdict(problem) for problem in problems]


def wrong(message: str, hint: str | None = None) -> PydanticCustomError:
    """What a validator raises: the message and the hint reach the `Problem` unchanged."""
    return PydanticCustomError("wrong", "{message}", {"message": message, "hint": hint})


def _block(problem: Problem) -> str:
    line = f"line {problem.line}: " if problem.line is not None else ""
    place = f"{problem.path}: " if problem.path else ""
    hint = f"\n    {problem.hint}" if problem.hint else ""
    return f"{line}{place}{problem.message}{hint}"
