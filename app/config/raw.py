"""YAML text to plain values that remember their lines.

The tree is built from libyaml's events with a stack, so that depth, size and aliases are bounded by this file
and not by luck. Scalars follow YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema), without its
octal, hexadecimal, infinite and not-a-number forms: `no`, `on`, `12:30` and `2026-01-01` are text here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from app.config.problems import ConfigError, Loc, Problem, show

MAX_BYTES = 4 * 1024 * 1024
"""Longest accepted document."""
MAX_DEPTH = 32
"""Deepest accepted nesting; the contract needs seven levels."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # wheels carry libyaml: ten times as fast, same events
_INTEGER = re.compile(r"[-+]?[0-9]{1,40}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]{1,40}|[0-9]{1,40}(\.[0-9]{0,40})?)([eE][-+]?[0-9]{1,4})?")
_CONSTANTS: dict[str, bool | None] = dict.fromkeys(("", "~", "null", "Null", "NULL")) | {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: mappings are dicts with text keys, lists are tuples; `lines` maps a location to its line."""

    root: Any
    lines: dict[Loc, int]

    def line(self, loc: Loc) -> int | None:
        """The line of the value, or of the nearest thing around it that stands in the file."""
        while loc and loc not in self.lines:
            loc = loc[:-1]
        return self.lines.get(loc)


@dataclass(slots=True)
class _Open:
    """A mapping or list that is being filled."""

    loc: Loc
    mapping: bool
    names: dict[str, int] = field(default_factory=dict)
    values: list[Any] = field(default_factory=list)
    key: str | None = None

    def place(self) -> Loc:
        """Where the next value goes."""
        if not self.mapping:
            return (*self.loc, len(self.values))
        return self.loc if self.key is None else (*self.loc, self.key)

    def finish(self) -> Any:
        """The finished value."""
        return dict(zip(self.names, self.values, strict=True)) if self.mapping else tuple(self.values)


class _Builder:
    """Turns events into one document; raises `ConfigError` on the first thing that is not plain YAML."""

    def __init__(self) -> None:
        self.root: Any = None
        self.lines: dict[Loc, int] = {}
        self.problems: list[Problem] = []
        self._open: list[_Open] = []
        self._documents = 0

    def feed(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark is not None else 1
        match event:
            case yaml.AliasEvent():
                raise self._refuse(line, "aliases (`*name`) are not supported", "Write the value out.")
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise self._refuse(
                        line, "the file holds more than one document", "Remove what follows the second `---`."
                    )
            case yaml.ScalarEvent() | yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._value(event, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._add(self._open.pop().finish())

    def _value(self, event: yaml.ScalarEvent | yaml.MappingStartEvent | yaml.SequenceStartEvent, line: int) -> None:
        if event.tag is not None:
            raise self._refuse(line, "tags (`!name`) are not supported", "Write a plain value.")
        top = self._open[-1] if self._open else None
        if top is not None and top.mapping and top.key is None:
            self._name(top, event, line)
            return
        loc = top.place() if top is not None else ()
        self.lines.setdefault(loc, line)
        if isinstance(event, yaml.ScalarEvent):
            self._add(_scalar(event.value) if event.implicit[0] else event.value)
        elif len(self._open) >= MAX_DEPTH:
            raise self._refuse(line, f"nested deeper than {MAX_DEPTH} levels")
        else:
            self._open.append(_Open(loc, isinstance(event, yaml.MappingStartEvent)))

    def _name(self, top: _Open, event: yaml.Event, line: int) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            raise self._refuse(line, "a setting's name must be plain text")
        name = event.value
        if name in top.names:
            path = show((*top.loc, name))
            self.problems.append(
                Problem(
                    path, line, f"is set twice, on line {top.names[name]} and on line {line}", "Remove one of them."
                )
            )
            name = f"{name}\0{line}"  # keeps names and values in step; the document is refused anyway
        top.names[name] = line
        top.key = name
        self.lines[*top.loc, name] = line

    def _add(self, value: Any) -> None:
        if not self._open:
            self.root = value
            return
        top = self._open[-1]
        top.values.append(value)
        top.key = None

    def _refuse(self, line: int, message: str, hint: str | None = None) -> ConfigError:
        loc = self._open[-1].place() if self._open else ()
        return ConfigError([*self.problems, Problem(show(loc), line, message, hint)])


def parse(text: str) -> Document:
    """Read YAML text. Raises `ConfigError`: not YAML, too large or deep, duplicate names, aliases, tags."""
    if len(text) > MAX_BYTES or len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise ConfigError([Problem("", None, f"the file is larger than {MAX_BYTES} bytes")])
    builder = _Builder()
    try:
        for event in _events(text):
            builder.feed(event)
    except (yaml.YAMLError, UnicodeError) as error:
        raise ConfigError([*builder.problems, _syntax(error)]) from None
    if builder.problems:
        raise ConfigError(builder.problems)
    return Document(builder.root, builder.lines)


def _events(text: str) -> Iterator[yaml.Event]:
    return yaml.parse(text, Loader=_LOADER)


def _scalar(text: str) -> str | float | bool | None:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _syntax(error: yaml.YAMLError | UnicodeError) -> Problem:
    # Only the parser's own words: the snippet around the mark could be a secret that somebody typed.
    mark = getattr(error, "problem_mark", None)
    words = [str(part) for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    hint = "Check indentation, colons, brackets and quotes around this line."
    return Problem(
        "", mark.line + 1 if mark else None, f"is not valid YAML: {', '.join(words) or 'unreadable characters'}", hint
    )
