"""The kinds of value that are addresses. One that may hold a password is then given as a reference, never typed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, PlainSerializer, PlainValidator, ValidationInfo

from app.config.problems import wrong
from app.config.secret import Secret, is_reference, resolve
from app.config.types import Label

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?")
_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*")
_SQLITE = re.compile(r"sqlite\+aiosqlite:///[^?#\s]+")
_CREDENTIALS = "Credentials never stand in the file: give the whole URL as `env:NAME` or `file:/path`."


def is_host(text: str) -> bool:
    """Whether this is a host name (ASCII; an international one as `xn--…`) or an IP address without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return bool(_HOST.fullmatch(text)) and ".." not in text
    return "%" not in text


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a server that listens on this host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _split(value: object, schemes: tuple[str, ...]) -> SplitResult:
    example = f"For example `{schemes[0]}://host:8000`."
    if not isinstance(value, str) or not value.isascii() or any(character <= " " for character in value):
        raise wrong("must be a URL", example)
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong("is not a well-formed URL", example) from None
    if parts.scheme not in schemes:
        raise wrong(f"must begin with {' or '.join(f'`{scheme}://`' for scheme in schemes)}", example)
    if not host or not is_host(host) or port == 0 or parts.netloc.endswith(":"):
        raise wrong("names no valid host or port", example)
    return parts


def _without(value: object, parts: SplitResult) -> None:
    if "?" in str(value) or "#" in str(value):
        raise wrong("must have no query and no fragment", "Leave out what follows `?` or `#`.")
    if not _PATH.fullmatch(parts.path):
        raise wrong("has a path with characters that a request line cannot hold")


def _http(value: object) -> str:
    parts = _split(value, ("http", "https"))
    if "@" in parts.netloc:
        raise wrong(
            "holds a user name or password", "Use `api_key: env:NAME` or `headers`; an address holds no credentials."
        )
    _without(value, parts)
    return str(value).rstrip("/")


def _proxy(value: object) -> bool:
    parts = _split(value, ("http", "https", "socks5", "socks5h"))
    _without(value, parts)
    return "@" in parts.netloc


def _database(value: object) -> bool:
    if isinstance(value, str) and _SQLITE.fullmatch(value):
        return False
    if isinstance(value, str) and value.startswith("sqlite"):
        raise wrong("is not a SQLite address that can be used", "For example `sqlite+aiosqlite:///sluicegate.db`.")
    return _split(value, ("postgresql+asyncpg", "sqlite+aiosqlite")).password is not None


def _limits(value: object) -> bool:
    if value == "memory":
        return False
    if not isinstance(value, str) or "://" not in value:
        raise wrong("must be `memory` or a Redis address", "For example `redis://127.0.0.1:6379/0`.")
    return _split(value, ("redis", "rediss")).password is not None


def _referable(has_credentials: Callable[[object], bool]) -> Callable[[object, ValidationInfo], Secret | str]:
    """A validator for an address that is either typed without credentials or given by reference with them."""

    def validate(value: object, info: ValidationInfo) -> Secret | str:
        if isinstance(value, Secret):
            return value
        if is_reference(value):
            text = resolve(value, info.context or {})
            has_credentials(text)
            return Secret(value, text)
        if has_credentials(value):
            raise wrong("holds a user name or password", _CREDENTIALS)
        return str(value)

    return validate


def _shown(value: Secret | str) -> str:
    return value.reference if isinstance(value, Secret) else value


HttpUrl = Annotated[str, BeforeValidator(_http), Label("URL")]
"""`http[s]://host[:port][/path]`, without a trailing slash."""
ProxyUrl = Annotated[
    Secret | str, PlainValidator(_referable(_proxy)), PlainSerializer(_shown), Label("URL or reference")
]
"""A proxy's address, or a reference to it."""
DatabaseUrl = Annotated[
    Secret | str, PlainValidator(_referable(_database)), PlainSerializer(_shown), Label("URL or reference")
]
"""A database's address, or a reference to it."""
LimitStore = Annotated[
    Secret | str, PlainValidator(_referable(_limits)), PlainSerializer(_shown), Label("`memory`, URL or reference")
]
"""`memory`, a Redis address, or a reference to it."""
