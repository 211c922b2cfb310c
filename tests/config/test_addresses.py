"""Addresses: what is taken, and that no password is typed into the file."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.config.addresses import DatabaseUrl, HttpUrl, LimitStore, ProxyUrl, is_host, is_loopback
from app.config.secret import Secret
from tests.support.configs import ENVIRON


def taken(kind: Any, value: object) -> Any:
    """The validated address; `ValidationError` where it is refused."""
    return TypeAdapter(kind).validate_python(value, context=ENVIRON)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("https://api.example.com/v1/", "https://api.example.com/v1"),
        ("http://[::1]:8001", "http://[::1]:8001"),
        ("http://vllm_0.models.svc.cluster.local/", "http://vllm_0.models.svc.cluster.local"),
        ("https://xn--bcher-kva.example/a/b.c~d", "https://xn--bcher-kva.example/a/b.c~d"),
    ],
)
def test_endpoints(written: str, kept: str) -> None:
    """Host names and addresses, with and without port and path; no trailing slash is kept."""
    assert taken(HttpUrl, written) == kept


@pytest.mark.parametrize(
    "written",
    [
        "", "host:8000", "127.0.0.1", "ftp://host", "http://", "http:///v1", "http://host:0", "http://host:99999",
        "http://host:port", "http://host:", "http://user@host", "http://user:pw@host/v1", "http://@host",
        "http://host/v1?x=1",
        "http://host/v1?", "http://host/#top", "http://host#", "http://host/a b", "http://host/\r\nx: y",
        "http://-host", "http://a..b", "http://[::1", "http://[fe80::1%eth0]/", "http://host/<>", "http://bücher.example",
        "http://ho st", "http://host\\@evil", " http://host", "env:URL", 8000, None,
    ],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused(written: object) -> None:
    """Credentials, queries, fragments, spaces, line breaks, ports that are none."""
    with pytest.raises(ValidationError):
        taken(HttpUrl, written)


@pytest.mark.parametrize(
    "written", ["http://proxy:3128", "https://proxy", "socks5://127.0.0.1:1080", "socks5h://proxy:1"]
)
def test_proxies(written: str) -> None:
    """HTTP and SOCKS."""
    assert taken(ProxyUrl, written) == written


def test_an_address_with_a_password_comes_by_reference() -> None:
    """It is then a secret, and shown as its reference."""
    kinds: tuple[tuple[Any, str], ...] = ((ProxyUrl, "env:PROXY_URL"), (DatabaseUrl, "env:DATABASE_URL"))
    for kind, reference in kinds:
        value = taken(kind, reference)
        assert isinstance(value, Secret)
        assert value.reveal() == ENVIRON[reference.removeprefix("env:")]
        assert TypeAdapter(kind).dump_python(value) == reference


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        (ProxyUrl, "http://user:hidden-word@proxy"),
        (ProxyUrl, "http://user@proxy"),
        (DatabaseUrl, "postgresql+asyncpg://user:hidden-word@host/db"),
        (LimitStore, "redis://:hidden-word@host:6379/0"),
    ],
)
def test_a_typed_password_is_refused_and_not_repeated(kind: Any, written: str) -> None:
    """The hint names references."""
    with pytest.raises(ValidationError) as caught:
        taken(kind, written)
    said = str(caught.value.errors(include_input=False))
    assert "hidden-word" not in said
    assert "env:NAME" in said


def test_what_a_reference_points_to_is_an_address_too() -> None:
    """A variable that holds something else is refused, without its value."""
    with pytest.raises(ValidationError) as caught:
        taken(DatabaseUrl, "env:OPENAI_API_KEY")
    assert ENVIRON["OPENAI_API_KEY"] not in str(caught.value.errors(include_input=False))


@pytest.mark.parametrize(
    "written",
    ["sqlite+aiosqlite:///sluicegate.db", "sqlite+aiosqlite:////var/lib/x.db", "postgresql+asyncpg://user@host/db"],
)
def test_databases(written: str) -> None:
    """A file, or a server with a user and no password."""
    assert taken(DatabaseUrl, written) == written


@pytest.mark.parametrize(
    "written", ["sqlite:///x.db", "sqlite+aiosqlite://", "postgresql://host/db", "mysql://host", "x", None]
)
def test_what_is_no_database_is_refused(written: object) -> None:
    """Only drivers that do not block."""
    with pytest.raises(ValidationError):
        taken(DatabaseUrl, written)


@pytest.mark.parametrize("written", ["memory", "redis://127.0.0.1:6379/0", "rediss://host/1"])
def test_limit_stores(written: str) -> None:
    """Memory or Redis."""
    assert taken(LimitStore, written) == written


@pytest.mark.parametrize("written", ["Memory", "redis", "http://host", "", 1])
def test_what_is_no_limit_store_is_refused(written: object) -> None:
    """The message names both kinds."""
    with pytest.raises(ValidationError):
        taken(LimitStore, written)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)),
        *(("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("localhost.example", False)),
    ],
)
def test_loopback_hosts(host: str, *, loopback: bool) -> None:
    """Only what no other machine can reach."""
    assert is_host(host)
    assert is_loopback(host) is loopback
