"""HTTP on a connection."""

from __future__ import annotations

import json
import socket
import time

import pytest

from tests.support.upstream import Upstream
from tests.upstream.client import CHAT, Client, body, raw

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def connect(upstream: Upstream) -> socket.socket:
    """A raw connection."""
    return socket.create_connection((upstream.host, upstream.port), timeout=5)


def test_a_connection_is_kept_through_good_and_bad_answers(client: Client, upstream: Upstream) -> None:
    """Errors end no connection, streams neither."""
    for model in ("echo", "fail-500", "nope", "html", "error-event-first"):
        client.chat(model)
        client.stream(model)
    assert {line["connection"] for line in upstream.log()} == {upstream.log()[0]["connection"]}
    stats = upstream.stats()
    assert (stats["connections"], stats["open_connections"]) == (1, 1)


def test_an_idle_connection_is_closed_after_its_time(upstream: Upstream) -> None:
    """As uvicorn does after five seconds; one that is being answered is not idle."""
    upstream.set(keep_alive=0.1)
    with connect(upstream) as idle:
        start = time.monotonic()
        assert idle.recv(1) == b""
        assert 0.05 < time.monotonic() - start < 1
    with Client(upstream) as client:
        assert client.stream("answer-3+pace-150ms").events[-1] == "[DONE]"


def test_http_1_0_and_connection_close_end_the_connection(upstream: Upstream) -> None:
    """After the answer."""
    text = json.dumps(body("echo")).encode()
    request = b"POST /v1/chat/completions HTTP/1.0\r\nhost: x\r\ncontent-type: application/json\r\n"
    assert b" 200 OK" in raw(upstream, request + b"content-length: %d\r\n\r\n%b" % (len(text), text))
    assert b" 200 OK" in raw(upstream, b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")


def test_a_request_may_come_byte_by_byte(upstream: Upstream) -> None:
    """The body too."""
    text = json.dumps(body("echo", "slow")).encode()
    with connect(upstream) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in HEAD + b"content-length: %d\r\n\r\n%b" % (len(text), text):
            connection.sendall(bytes([byte]))
        assert b'"slow"' in connection.recv(65536)


@pytest.mark.parametrize(("model", "setting"), [("early-413", None), ("echo", 1000)])
def test_a_long_body_can_be_refused_before_it_has_come(upstream: Upstream, model: str, setting: int | None) -> None:
    """413 while the body is still on its way; the rest is read into the void."""
    upstream.set(max_body_bytes=setting)
    text = json.dumps(body(model)).encode() + b" " * 300_000
    with connect(upstream) as connection:
        connection.sendall(HEAD + b"content-length: %d\r\n\r\n%b" % (len(text), text[:2000]))
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer
        connection.sendall(text[2000:100_000])
        assert connection.recv(65536) == b""
    assert upstream.log()[-1]["status"] == 413


def test_a_request_that_breaks_off_is_counted(upstream: Upstream) -> None:
    """It is no request, and no violation: a caller may leave while it sends."""
    with connect(upstream) as connection:
        connection.sendall(HEAD + b"content-length: 1000\r\n\r\n{")
    deadline = time.monotonic() + 2
    while upstream.stats()["open_connections"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert upstream.stats()["open_connections"] == 0
    assert upstream.log() == []


def test_other_methods_and_paths_are_refused_as_vllm_does(client: Client) -> None:
    """405 names what is allowed, 404 has no OpenAI shape."""
    reply = client.request("GET", CHAT)
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert client.request("GET", "/v1/nothing").doc == {"detail": "Not Found"}
