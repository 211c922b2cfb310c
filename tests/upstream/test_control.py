"""Steering a running server, and what it tells about itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.upstream import Upstream
from tests.upstream.client import Client, Stream, body


@contextmanager
def streaming(upstream: Upstream, model: str, number: int = 1) -> Iterator[list[Stream]]:
    """Streams under way; at the end of the block they are read to their ends and appended to the list."""
    found: list[Stream] = []

    def read() -> None:
        with Client(upstream) as client:
            found.append(client.stream(model))

    readers = [threading.Thread(target=read) for _ in range(number)]
    for reader in readers:
        reader.start()
    upstream.wait(lambda stats: stats["open_streams"] == number and stats["running"] == number)
    time.sleep(0.05)
    yield found
    for reader in readers:
        reader.join(10)


def test_a_dead_engine_ends_streams_with_an_error_and_refuses_the_rest(client: Client, upstream: Upstream) -> None:
    """The error event, `[DONE]`, then 500 for chat and 503 for health."""
    with streaming(upstream, "answer-1000+pace-10ms") as streams:
        upstream.set(engine="dead")
    assert streams[0].docs[-1]["error"]["code"] == 500
    assert streams[0].events[-1] == "[DONE]"
    assert 1 <= upstream.log()[0]["made"] < 1000
    assert client.chat("echo").status == 500
    assert client.request("GET", "/health").status == 503


def test_a_dead_engine_answers_whoever_still_waits(upstream: Upstream) -> None:
    """A non-streamed request under way gets 500."""
    statuses: list[int] = []

    def ask() -> None:
        with Client(upstream) as client:
            statuses.append(client.chat("slow-5s").status)

    waiting = threading.Thread(target=ask)
    waiting.start()
    upstream.wait(lambda stats: stats["running"] == 1)
    upstream.set(engine="dead")
    waiting.join(5)
    assert statuses == [500]
    assert upstream.stats()["running"] == 0


def test_a_draining_engine_is_healthy_and_refuses(client: Client, upstream: Upstream) -> None:
    """Streams under way finish; health alone is not readiness."""
    with streaming(upstream, "answer-30+pace-10ms") as streams:
        upstream.set(engine="draining")
    assert streams[0].events[-1] == "[DONE]"
    assert "error" not in streams[0].docs[-1]
    assert client.request("GET", "/health").status == 200
    assert client.chat("echo").status == 500


def test_a_silent_engine_says_nothing_any_more(upstream: Upstream) -> None:
    """Streams freeze without an end, new requests hang."""
    with Client(upstream, timeout=0.3) as client:
        response = client.open(body("answer-1000+pace-10ms", stream=True))
        response.read1()
        upstream.set(engine="silent")
        with pytest.raises(TimeoutError):
            response.read()
    with Client(upstream, timeout=0.2) as client, pytest.raises(TimeoutError):
        client.chat("echo")
    upstream.wait(lambda stats: stats["running"] == 0)
    first = upstream.log()[0]
    assert 1 <= first["made"] == first["written"] < 30


def test_overload_is_a_503_or_its_event(client: Client, upstream: Upstream) -> None:
    """More than `max_running` at a time: as a status, or in a stream of status 200."""
    upstream.set(max_running=2)
    with streaming(upstream, "answer-40+pace-10ms", 2):
        refused = client.chat("echo", stream=True)
        assert (refused.status, refused.doc["error"]["type"]) == (503, "Service Unavailable")
        assert "retry-after" not in refused.headers
        upstream.set(overload="event")
        stream = client.stream("echo")
        assert (stream.status, stream.docs[0]["error"]["code"]) == (200, 503)
        assert client.chat("echo").status == 503
    assert client.chat("echo").status == 200


def test_settings_are_changed_and_brought_back(client: Client, upstream: Upstream) -> None:
    """The fingerprint proves which backend answered; also for a request that was seen before."""
    assert client.chat("echo").doc["system_fingerprint"] == "fp_fake"
    upstream.set(fingerprint="blue", aliases={"gpt-4o-mini": "answer-3"})
    assert client.chat("echo").doc["system_fingerprint"] == "blue"
    assert client.chat("gpt-4o-mini").doc["usage"]["completion_tokens"] == 3
    assert "gpt-4o-mini" in {model["id"] for model in client.request("GET", "/v1/models").doc["data"]}
    upstream.set(aliases={"gpt-4o-mini": "fail-500"})
    assert client.chat("gpt-4o-mini").status == 500
    upstream.reset()
    assert client.chat("gpt-4o-mini").status == 404
    assert client.chat("echo").doc["system_fingerprint"] == "fp_fake"


@pytest.mark.parametrize("wrong", [{"engin": "dead"}, {"engine": "ill"}, {"overload": 1}])
def test_a_wrong_setting_is_refused(client: Client, upstream: Upstream, wrong: dict[str, object]) -> None:
    """A test that misspells one must not pass by accident; nothing is changed."""
    with pytest.raises(AssertionError, match=r"KeyError|ValueError"):
        upstream.set(health=503, **wrong)
    assert client.request("GET", "/health").status == 200


def test_the_log_has_a_line_for_every_request(client: Client, upstream: Upstream) -> None:
    """Failed ones and health probes too, control requests not; `since` skips what was read before."""
    client.chat("echo")
    client.chat("fail-503")
    client.chat("nope")
    client.request("GET", "/health")
    lines = upstream.log()
    assert [(line["path"], line["status"], line["model"]) for line in lines] == [
        ("/v1/chat/completions", 200, "echo"),
        ("/v1/chat/completions", 503, "fail-503"),
        ("/v1/chat/completions", 404, "nope"),
        ("/health", 200, None),
    ]
    assert len({line["connection"] for line in lines}) == 1
    assert [line["nth"] for line in lines] == [1, 2, 3, 4]
    assert upstream.log(since=lines[2]["seq"]) == lines[3:]
    assert all(line["started"] <= line["first"] <= line["ended"] <= time.monotonic() for line in lines)
    stats = upstream.stats()
    assert (stats["requests"], stats["statuses"]) == (4, {"200": 2, "404": 1, "503": 1})
    assert stats["per_model"] == {"echo": 1, "fail-503": 1}


def test_requests_are_kept_as_they_came(client: Client, upstream: Upstream) -> None:
    """Headers in order, the body to the byte."""
    client.request(
        "POST",
        "/v1/chat/completions",
        b'{"model": "echo", "messages": [{"role": "user", "content": "\xc3\xa9"}], "x": 1}',
        x_one="1",
    )
    (kept,) = upstream.requests()
    assert kept["body"].endswith('"content": "é"}], "x": 1}')
    assert ["x-one", "1"] in kept["headers"]
    assert upstream.bodies()[0]["x"] == 1


def test_a_reset_breaks_off_what_is_under_way(upstream: Upstream) -> None:
    """So that one test's requests do not end in the next one's log."""
    with streaming(upstream, "answer-1000+pace-10ms") as streams:
        upstream.reset()
        assert upstream.stats()["running"] == 0
        assert upstream.log() == []
    assert isinstance(streams[0].broken, OSError)
    assert upstream.log() == []
