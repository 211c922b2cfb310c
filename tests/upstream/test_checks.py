"""What a gateway must not send becomes a violation, and a violation fails the test."""

from __future__ import annotations

import json

import pytest

from tests.support.upstream import Upstream
from tests.upstream.client import CHAT, Client, body, raw


def kinds(upstream: Upstream) -> list[str]:
    """The violations so far, which are forgotten."""
    found = [violation["kind"] for violation in upstream.violations()]
    upstream.reset()
    return found


def post(headers: bytes, request: bytes = json.dumps(body("echo")).encode()) -> bytes:
    """A raw request, with more headers."""
    opening = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
    )
    return opening + headers + b"content-length: %d\r\n\r\n%b" % (len(request), request)


def test_a_decent_request_is_no_violation(client: Client, upstream: Upstream) -> None:
    """With its own credential, keep-alive and a request id."""
    client.request("POST", CHAT, body("echo"), authorization="Bearer own", connection="keep-alive", x_request_id="r")
    assert upstream.violations() == []


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("te: trailers", "hop_by_hop"),
        ("keep-alive: timeout=5", "hop_by_hop"),
        ("proxy-connection: keep-alive", "hop_by_hop"),
        ("trailer: x-sum", "hop_by_hop"),
        ("expect: 100-continue", "hop_by_hop"),
        ("proxy-authorization: Basic x", "hop_by_hop"),
        ("x-api-key: k", "credential"),
        ("api-key: k", "credential"),
        ("cookie: a=b", "credential"),
        ("x-sluicegate-affinity: u", "private_header"),
        ("x-forwarded-for: 10.0.0.1", "private_header"),
        ("host: y", "duplicate_header"),
        ("content-type: application/json", "duplicate_header"),
    ],
)
def test_a_header_that_must_not_cross(upstream: Upstream, header: str, kind: str) -> None:
    """Hop-by-hop, a caller's credential, the gateway's own business, twice the same."""
    raw(upstream, post(header.encode() + b"\r\n"))
    assert kind in kinds(upstream)


def test_a_connection_header_that_names_others(upstream: Upstream) -> None:
    """`keep-alive` and `close` are a client's own; anything else was passed on."""
    request = post(b"").replace(b"connection: close", b"connection: close, x-secret")
    raw(upstream, request)
    assert kinds(upstream) == ["hop_by_hop"]


def test_a_body_without_a_length(upstream: Upstream) -> None:
    """The gateway knows its length."""
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
    )
    text = json.dumps(body("echo")).encode()
    answer = raw(upstream, request + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(text), text))
    assert b" 200 OK" in answer
    assert kinds(upstream) == ["hop_by_hop", "no_content_length"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"{", "bad_json"),
        (b"[]", "bad_json"),
        (b'{"model": "echo", "messages": [{"role": "user", "content": "\xff"}]}', "bad_json"),
        (b'{"model": "echo"}', "no_messages"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "no_model"),
    ],
)
def test_a_body_that_no_gateway_may_let_through(upstream: Upstream, text: bytes, kind: str) -> None:
    """What a gateway refuses itself."""
    raw(upstream, post(b"", text))
    assert kinds(upstream) == [kind]


def test_a_content_type_that_is_not_json(upstream: Upstream) -> None:
    """vLLM refuses it too."""
    answer = raw(upstream, post(b"").replace(b"application/json", b"text/plain"))
    assert b" 400 " in answer
    assert kinds(upstream) == ["content_type"]


def test_what_was_expected_is_checked(client: Client, upstream: Upstream) -> None:
    """The upstream's own credential, a header's value, a request id, and no trace of a secret."""
    upstream.set(
        expect_authorization="Bearer own",
        expect_headers={"x-tenant": "a"},
        expect_request_id=True,
        forbid=["caller-secret"],
    )
    client.request("POST", CHAT, body("echo"), authorization="Bearer own", x_tenant="a", x_request_id="r")
    assert upstream.violations() == []
    client.request("POST", CHAT, body("echo", "the caller-secret is"), authorization="Bearer caller-secret")
    found = upstream.violations()
    assert [violation["kind"] for violation in found] == [
        "no_request_id",
        "authorization",
        "header",
        "forbidden_string",
    ]
    assert "caller-secret" not in found[-1]["detail"]
    upstream.reset()
    upstream.set(expect_authorization="")
    client.request("POST", CHAT, body("echo"), authorization="Bearer any")
    assert kinds(upstream) == ["authorization"]


def test_what_a_test_allows_is_not_recorded(client: Client, upstream: Upstream) -> None:
    """By kind."""
    upstream.set(allow=["credential"])
    client.request("POST", CHAT, body("echo"), x_api_key="k")
    assert upstream.violations() == []


def test_a_request_before_the_last_answer_is_pipelining(upstream: Upstream) -> None:
    """Both are answered, in order."""
    first = post(b"", json.dumps(body("answer-1+slow-50ms", "x")).encode()).replace(b"connection: close\r\n", b"")
    answer = raw(upstream, first + post(b"", json.dumps(body("echo", "y")).encode()))
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.index(b'"the"') < answer.index(b'"y"')
    assert kinds(upstream) == ["pipelined"]


def test_what_is_no_http_is_a_violation(upstream: Upstream) -> None:
    """And the connection ends."""
    assert raw(upstream, b"\x16\x03\x01 hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert kinds(upstream) == ["not_http"]


def test_two_different_lengths_are_no_http(upstream: Upstream) -> None:
    """Request smuggling begins so."""
    raw(upstream, post(b"content-length: 3\r\n"))
    assert kinds(upstream) == ["not_http"]
