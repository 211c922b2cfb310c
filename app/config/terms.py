"""The terms of a blocklist, in the configuration itself and in files of their own."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from app.config.problems import wrong
from app.config.types import Label

LONGEST = 256
"""Characters that a term may have: text that may become one is held back, and this bounds how much."""
MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_FILE_TERMS = 200_000
SEPARATORS = frozenset(
    " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029._*~'`^/\\-,"
    "\u2010\u2011\u2012\u2013\u2014\u2015\u00b7\u2018\u2019\u2022\u2027\u30fb"
)
"""What may stand between the letters of a term without hiding it; a term of nothing else cannot be looked for."""
_UNSEEN = frozenset("\u115f\u1160\u2800\u3164\uffa0\ufffc")


def _term(value: str) -> str:
    shown = unicodedata.normalize("NFKC", value)
    if len(shown) > LONGEST:
        raise wrong(
            f"has more than {LONGEST} characters", "Text that may become a term is held back: keep terms short."
        )
    if not any(
        char not in SEPARATORS and char not in _UNSEEN and unicodedata.category(char)[0] in "LNPS" for char in shown
    ):
        raise wrong("has no character to look for", "Separators alone do not make a term.")
    return value


Term = Annotated[str, Field(min_length=1), AfterValidator(_term), Label(f"text, at most {LONGEST} characters")]
"""A term that `rules` looks for."""


class TermFile:
    """A file of terms, one a line; empty lines and lines that begin with `#` say nothing. Shown as its path."""

    __slots__ = ("path", "terms")

    def __init__(self, path: str, terms: tuple[str, ...]) -> None:
        self.path = path
        self.terms = terms

    def __repr__(self) -> str:
        return f"TermFile({self.path})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TermFile) and (self.path, self.terms) == (other.path, other.terms)

    def __hash__(self) -> int:
        return hash((self.path, self.terms))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        shown = core_schema.plain_serializer_function_ser_schema(lambda file: file.path)
        return core_schema.no_info_plain_validator_function(cls.parse, serialization=shown)

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read the file at a path. Raises a validation error that names the file and the line."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, str) or not value or "\0" in value:
            raise wrong("must be the path of a file", "For example `/etc/sluicegate/terms.txt`.")
        return cls(value, tuple(_read(Path(value))))


def term_files(root: object) -> Iterator[Path]:
    """The files of terms that a parsed document names."""
    for guard in _elements(root, "guards"):
        for name in _elements(guard, "blocklist_files"):
            if isinstance(name, str) and name and "\0" not in name:
                yield Path(name)


def _elements(node: object, name: str) -> tuple[object, ...]:
    inner = node.get(name) if isinstance(node, dict) else None
    return inner if isinstance(inner, tuple) else ()


def _read(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise wrong(f"{path} cannot be read: {error.strerror}", "Check that it exists and may be read.") from None
    except UnicodeDecodeError:
        raise wrong(f"{path} is not UTF-8 text") from None
    lines = text.splitlines()
    if len(content) > MAX_FILE_BYTES or len(lines) > MAX_FILE_TERMS:
        raise wrong(f"{path} is larger than {MAX_FILE_BYTES} bytes or {MAX_FILE_TERMS} lines", "Split it.")
    for number, line in enumerate(lines, start=1):
        term = line.strip()
        if term and not term.startswith("#"):
            try:
                yield _term(term)
            except PydanticCustomError as error:
                context = error.context or {}
                raise wrong(f"{path}, line {number}: {context['message']}", context["hint"]) from None
