"""Secrets: read by reference, never written in the file, never shown.

A reference is `env:NAME` (an environment variable) or `file:/path` (a file's content, without one trailing newline).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypeIs

from app.config.problems import wrong

MAX_SECRET_BYTES = 64 * 1024

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VISIBLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_HINT = "Put the secret into the environment or a file and write `env:NAME` or `file:/path` here."


class _Referenced:
    """What both kinds of secret share: the reference may be shown, and is all that any dump ever holds."""

    __slots__ = ("_held", "reference")

    def __init__(self, reference: str, value: str) -> None:
        self.reference = reference
        self._held = self._keep(value)

    def _keep(self, value: str) -> bytes:
        return value.encode()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.reference})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, type(self))
            and self.reference == other.reference
            and hmac.compare_digest(self._held, other._held)
        )

    def __hash__(self) -> int:
        return hash((self.reference, self._held))

    def __reduce__(self) -> str:
        msg = "a secret is never pickled"
        raise TypeError(msg)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        shown = core_schema.plain_serializer_function_ser_schema(lambda secret: secret.reference)
        return core_schema.with_info_plain_validator_function(cls.parse, serialization=shown)

    @classmethod
    def parse(cls, value: object, info: ValidationInfo, *, spaces: bool = False) -> Self:
        """Read what a reference points to; the validation's context is the environment. Raises a validation error."""
        if isinstance(value, cls):
            return value
        if not is_reference(value):
            raise wrong("must be a reference to a secret, not the secret itself", _HINT)
        text = resolve(value, info.context or {})
        if " " in text and not spaces:
            raise wrong(f"`{value}` holds a space, which no credential may", "Check what the reference points to.")
        return cls(value, text)


class Secret(_Referenced):
    """A secret that the gateway must send on: an upstream's credential."""

    __slots__ = ()

    def reveal(self) -> str:
        """The value itself: visible ASCII. For the wire only; never for logs, errors or dumps."""
        return self._held.decode()


class KeySecret(_Referenced):
    """A caller's or an admin's secret: only its SHA-256 digest is kept."""

    __slots__ = ()

    @classmethod
    def of_digest(cls, digest: bytes) -> Self:
        """A secret of which only the digest was kept."""
        made = cls.__new__(cls)
        made.reference = "stored"
        made._held = digest  # noqa: SLF001 # its own class
        return made

    def _keep(self, value: str) -> bytes:
        return hashlib.sha256(value.encode()).digest()

    @property
    def digest(self) -> bytes:
        """SHA-256 of the secret, 32 bytes."""
        return self._held


def is_reference(value: object) -> TypeIs[str]:
    """Whether a value of the file points to a secret."""
    return isinstance(value, str) and value.startswith(("env:", "file:"))


def files(node: object) -> Iterator[Path]:
    """The files that a parsed document refers to, whether they exist or not."""
    match node:
        case str() if node.startswith("file:/") and "\0" not in node:
            yield Path(node.removeprefix("file:"))
        case dict():
            yield from chain.from_iterable(map(files, node.values()))
        case tuple():
            yield from chain.from_iterable(map(files, node))


def resolve(reference: str, environ: Mapping[str, str]) -> str:
    """The text behind a reference. Raises a validation error that names the variable or the path, never the value."""
    kind, _, name = reference.partition(":")
    text = _from_environ(name, environ) if kind == "env" else _from_file(name)
    if not text:
        raise wrong(f"`{reference}` is empty", "An empty secret protects nothing: set it.")
    if not _VISIBLE.fullmatch(text):
        raise wrong(
            f"`{reference}` holds line breaks, other control characters, spaces at an end or characters beyond ASCII",
            "A credential is visible ASCII.",
        )
    return text


def _from_environ(name: str, environ: Mapping[str, str]) -> str:
    if not _ENV_NAME.fullmatch(name):
        raise wrong(
            "`env:` must be followed by the name of an environment variable", "For example `env:OPENAI_API_KEY`."
        )
    if name not in environ:
        raise wrong(f"the environment variable {name} is not set", f"Set {name} before the gateway starts.")
    return environ[name]


def _from_file(name: str) -> str:
    path = Path(name)
    if not path.is_absolute() or "\0" in name:
        raise wrong("`file:` must be followed by an absolute path", "For example `file:/run/secrets/openai`.")
    try:
        text = _read(path).decode()
    except OSError as error:
        raise wrong(
            f"{path} cannot be read: {error.strerror}", "Check that it exists and that this user may read it."
        ) from None
    except UnicodeDecodeError:
        raise wrong(f"{path} is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")


def _read(path: Path) -> bytes:
    # O_NONBLOCK: opening a named pipe must not wait for its writer.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise wrong(f"{path} is not a regular file")
        content = file.read(MAX_SECRET_BYTES + 1)
    if len(content) > MAX_SECRET_BYTES:
        raise wrong(
            f"{path} is larger than {MAX_SECRET_BYTES} bytes", "A secret file holds the secret and nothing else."
        )
    return content
