"""Answers in time: a caller who leaves is noticed at once, one who reads slowly gets everything."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest

from tests.support.upstream import Upstream
from tests.upstream.client import Client, body


def send(upstream: Upstream, model: str, **fields: Any) -> socket.socket:
    """A raw connection on which a request has been sent."""
    text = json.dumps(body(model, **fields)).encode()
    opening = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.connect((upstream.host, upstream.port))
    connection.sendall(opening + b"content-length: %d\r\n\r\n%b" % (len(text), text))
    return connection


@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_who_leaves_is_noticed_at_once(upstream: Upstream, *, stream: bool) -> None:
    """Generation stops, the log says when and after how many tokens."""
    with send(upstream, "answer-1000+pace-10ms", stream=stream) as connection:
        upstream.wait(lambda stats: stats["running"] == 1)
        time.sleep(0.1)
        if stream:
            assert connection.recv(65536)
        left = time.monotonic()
    stats = upstream.wait(lambda stats: stats["running"] == 0)
    (line,) = upstream.log()
    assert 0 <= line["gone"] - left < 0.1
    assert 8 <= line["made"] < 60
    assert (line["complete"], stats["disconnects"], stats["open_streams"]) == (False, 1, 0)
    assert line["written"] <= line["made"] if stream else line["written"] == 0
    assert line["made"] == pytest.approx((line["gone"] - line["started"]) / 0.01 + 1, abs=1.5)


def test_tokens_before_the_first_one_is_due_are_not_made(upstream: Upstream) -> None:
    """A caller who leaves during the prefill pays for nothing."""
    with send(upstream, "answer-1000+slow-5s+pace-10ms"):
        upstream.wait(lambda stats: stats["running"] == 1)
    upstream.wait(lambda stats: stats["running"] == 0)
    assert upstream.log()[0]["made"] == 0


def test_a_slow_reader_gets_everything_and_the_engine_does_not_wait_for_it(upstream: Upstream) -> None:
    """Writing stops when nobody reads and goes on when somebody does."""
    with send(upstream, "answer-400+unicode-400+pace-1ms+big-32k", stream=True) as connection:
        connection.settimeout(5)
        time.sleep(0.05)
        found = connection.recv(100)
    upstream.wait(lambda stats: stats["running"] == 0)
    assert found
    with send(upstream, "answer-20000", stream=True) as connection:
        connection.settimeout(5)
        time.sleep(0.3)
        assert upstream.stats()["running"] == 1
        received = bytearray()
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(1 << 20)
    assert received.count(b'"delta":{"content"') == 20000
    line = upstream.log()[-1]
    assert (line["made"], line["written"], line["complete"]) == (20000, 20000, True)


def test_a_slow_reader_who_leaves_is_charged_what_was_made(upstream: Upstream) -> None:
    """`made` follows the engine's clock, `written` the socket."""
    with send(upstream, "answer-20000", stream=True):
        upstream.wait(lambda stats: stats["running"] == 1)
        time.sleep(0.1)
    upstream.wait(lambda stats: stats["running"] == 0)
    line = upstream.log()[0]
    assert line["made"] == 20000
    assert line["written"] < 20000


def test_many_paced_streams_keep_their_pace(upstream: Upstream) -> None:
    """Fifty at a time, 2 ms apart: each ends when it should, give or take a busy machine."""
    connections = [send(upstream, "answer-50+pace-2ms", stream=True) for _ in range(50)]
    for connection in connections:
        connection.settimeout(10)
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(65536)
        connection.close()
    spans = sorted(line["ended"] - line["started"] for line in upstream.log())
    assert len(spans) == 50
    assert spans[0] >= 0.097
    assert spans[25] < 0.5


def test_a_new_connection_is_served_while_another_waits(upstream: Upstream) -> None:
    """A hanging request blocks nobody."""
    with send(upstream, "hangs"), Client(upstream) as client:
        assert client.chat("echo").status == 200
