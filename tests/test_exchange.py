"""The vocabulary: values that answer about themselves, and cannot be changed."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from app.exchange import Call, Endpoint, Event, Method, Operation, Outbound, Principal, Timeouts, Usage


@pytest.mark.parametrize(
    ("scheme", "host", "port", "authority"),
    [
        ("http", "10.0.0.1", 8000, "10.0.0.1:8000"),
        ("http", "llm.example", 80, "llm.example"),
        ("https", "llm.example", 443, "llm.example"),
        ("https", "llm.example", 80, "llm.example:80"),
        ("http", "::1", 8000, "[::1]:8000"),
        ("https", "2001:db8::1", 443, "[2001:db8::1]"),
    ],
)
def test_an_endpoints_authority_is_the_host_header(scheme: str, host: str, port: int, authority: str) -> None:
    """The scheme's own port is left out; IPv6 stands in brackets."""
    endpoint = Endpoint(scheme, host, port, "/v1")
    assert (endpoint.authority, endpoint.url) == (authority, f"{scheme}://{authority}/v1")


def test_endpoints_are_equal_by_address_and_way() -> None:
    """Pools and health are kept under them, across reloads."""
    first = Endpoint("http", "a", 80, "/v1")
    assert {first: "kept"}[Endpoint("http", "a", 80, "/v1")] == "kept"
    others = [
        Endpoint("https", "a", 80, "/v1"), Endpoint("http", "b", 80, "/v1"), Endpoint("http", "a", 81, "/v1"),
        Endpoint("http", "a", 80, ""), Endpoint("http", "a", 80, "/v1", proxy="http://p"),
        Endpoint("http", "a", 80, "/v1", http2=True),
    ]  # fmt: skip
    assert len({first, *others}) == 7


def test_an_endpoint_does_not_show_its_proxy() -> None:
    """Its address may hold a password."""
    assert "hidden" not in repr(Endpoint("http", "a", 80, "/v1", proxy="http://user:hidden@proxy:3128"))


def test_values_cannot_be_changed() -> None:
    """Stages hand them on and need not copy."""
    frozen = Principal("team", "key"), Timeouts(), Endpoint("http", "a", 80, "")
    for value in frozen:
        with pytest.raises(FrozenInstanceError):
            setattr(value, next(iter(value.__slots__)), None)
    for made in (Usage(1, 2), Outbound("GET", "/", (), b"", stream=False)):
        with pytest.raises(AttributeError):
            setattr(made, made._fields[0], None)


def test_a_call_without_some_fields() -> None:
    """Another call: the one that came stays as it is."""
    call = Call(Operation.CHAT, "m", stream=False, include_usage=False, body={"seed": 1, "messages": []}, size=9)
    assert call.without(frozenset({"seed", "user"})).body == {"messages": []}
    assert call.body == {"seed": 1, "messages": []}


def test_operations_are_opentelemetrys_names() -> None:
    """`gen_ai.operation.name`: they stand in metrics, spans and logs."""
    assert {one.value for one in Operation} == {
        "chat", "text_completion", "embeddings", "rerank", "score", "tokenize", "moderation",
    }  # fmt: skip


def test_usage_is_exact_unless_told_otherwise() -> None:
    """Nothing cached, nothing reasoned."""
    assert Usage(3, 4) == (3, 4, 0, 0, 0, Method.EXACT)


def test_an_event_is_for_the_caller_unless_told_otherwise() -> None:
    """Neither hidden nor an error, and it counts for nothing."""
    event = Event(b"{}", {})
    assert (event.tokens, event.usage, event.hidden, event.error) == (0, None, False, 0)
