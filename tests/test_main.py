"""A serving process as its operator knows it: ready, full, told to change its configuration, told to stop."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from app.main import _beside, listen
from loadtests.cpu import cpu_seconds
from loadtests.server import free_port
from tests.support.gateway import Gateway, Json, config, deployment, one_each
from tests.support.sockets import Answers, chat_request, connect, exchange, read_until
from tests.support.upstream import Upstream

STREAM = "answer-30+pace-20ms"


@pytest.fixture(scope="module")
def document(upstream_process: Upstream) -> Json:
    """A configuration with a quick model and two slow ones."""
    return one_each(upstream_process.url, [STREAM, "hangs-after-3"])


@pytest.fixture(scope="module")
def running(document: Json) -> Iterator[Gateway]:
    """A gateway whose configuration changes."""
    with Gateway(document) as running:
        yield running


@pytest.fixture
def gateway(running: Gateway, document: Json) -> Iterator[Gateway]:
    """The same, with the document's configuration in force before and after."""
    yield running
    running.write(document)
    running.ops("/admin/v1/config/reload", method="POST")


def begin(gateway: Gateway, model: str = STREAM) -> socket.socket:
    """A stream whose first pieces have come."""
    connection = connect(gateway.url)
    connection.sendall(chat_request(model, stream=True))
    read_until(connection, b'"content":"')
    return connection


def with_model(document: Json, name: str) -> Json:
    """The configuration with one more model."""
    return {**document, "models": [*document["models"], {**document["models"][0], "name": name}]}


# --- load shedding -----------------------------------------------------------------------------------------


def test_a_full_gateway_sheds_load(tight: Gateway, upstream: Upstream) -> None:
    """503 `overloaded` with `retry-after`, at once and without an upstream call; with a place free it serves again."""
    before, lines = tight.outcomes(), len(tight.lines(sum(tight.outcomes().values())))
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(closing(connect(tight.url))).sendall(chat_request("hangs", stream=True))
        upstream.wait(lambda stats: stats["running"] == 4)
        for stream in (True, False):
            began = time.monotonic()
            shed = tight.chat(stream=stream)
            assert time.monotonic() - began < 1
            assert (shed.status_code, shed.json()["error"]["code"]) == (503, "overloaded")
            assert int(shed.headers["retry-after"]) >= 1
        assert tight.get("/livez").status_code == tight.get("/readyz").status_code == 200
        assert (upstream.stats()["running"], upstream.log()) == (4, [])
    tight.until(lambda: tight.chat().status_code == 200, seconds=3)
    found = tight.lines(lines + 7)[lines:]
    counts = {outcome: count - before.get(outcome, 0) for outcome, count in tight.outcomes().items()}
    assert sum(counts.values()) == len(found)
    assert (counts["client_closed"], counts["overloaded"]) == (4, 2)


def test_shedding_under_a_crowd(tight: Gateway) -> None:
    """Eighty at once for four places: each is served or shed, none waits for another, and the sums are right."""
    before = sum(tight.outcomes().values())
    statuses: list[int] = []

    async def crowd() -> None:
        async with tight.async_sdk() as client:
            asked = (
                client.chat.completions.create(model="slow-300ms", messages=[{"role": "user", "content": "x"}])
                for _ in range(80)
            )
            for result in await asyncio.gather(*asked, return_exceptions=True):
                assert not isinstance(result, BaseException) or isinstance(result, openai.APIStatusError)
                statuses.append(result.status_code if isinstance(result, openai.APIStatusError) else 200)

    asyncio.run(crowd())
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 4
    tight.until(lambda: sum(tight.outcomes().values()) == before + 80)
    tight.until(lambda: tight.value("sluicegate_in_flight") == 0)


# --- readiness ---------------------------------------------------------------------------------------------


def test_readiness_follows_the_upstream() -> None:
    """Probed by its health path: 503 and what is down while nobody answers there; ready again by itself."""
    port = free_port()
    probed = deployment("probed", f"http://127.0.0.1:{port}", "echo", provider="vllm", health="/health")
    with Gateway(config([probed], [{"name": "echo", "stable": "probed"}])) as gateway:
        gateway.until(lambda: gateway.get("/readyz", key=None).status_code == 503)
        answer = gateway.ops("/readyz", key=None).json()
        assert answer["status"] == "not ready"
        assert answer["checks"]["deployment probed"] == "1 of 1 endpoints down"
        assert f":{port}" not in str(answer)
        assert gateway.get("/livez", key=None).status_code == 200
        gateway.until(lambda: gateway.value("sluicegate_endpoint_up", deployment="probed") == 0)
        with Upstream(port=port):
            gateway.until(lambda: gateway.get("/readyz", key=None).status_code == 200, seconds=20)
            assert gateway.chat().status_code == 200
            gateway.until(lambda: gateway.value("sluicegate_endpoint_up", deployment="probed") == 1)


# --- configuration -----------------------------------------------------------------------------------------


def test_a_signal_reloads(gateway: Gateway, document: Json) -> None:
    """SIGHUP."""
    gateway.write(with_model(document, "by-signal"))
    gateway.signal(signal.SIGHUP)
    gateway.until(lambda: gateway.chat("by-signal").status_code == 200)


def test_a_changed_file_is_noticed(gateway: Gateway, document: Json) -> None:
    """Without being told."""
    gateway.write(with_model(document, "by-file"))
    gateway.until(lambda: gateway.chat("by-file").status_code == 200)


def test_a_bad_file_is_told_of_and_changes_nothing(gateway: Gateway) -> None:
    """Once noticed, the log names every problem; requests go on."""
    before = len(gateway.said("config reload"))
    gateway.config_file.write_text("server: {prot: 1}\n")
    gateway.until(lambda: len(gateway.said("config reload")) > before)
    (told,) = gateway.said("config reload")[before:]
    assert (told["level"], told["result"]) == ("error", "refused")
    assert "server.prot" in {problem["path"] for problem in told["problems"]}
    assert gateway.chat().status_code == 200


def test_a_tokenizer_that_is_none_is_refused_with_its_place(
    gateway: Gateway, document: Json, upstream_process: Upstream, tmp_path: Path
) -> None:
    """When the file is read, not when a long prompt comes; requests go on by the configuration that is in force."""
    (tmp_path / "tokenizer.json").write_text("{}")
    odd = deployment("odd", upstream_process.url, "echo", tokenizer=str(tmp_path / "tokenizer.json"))
    gateway.write({**document, "deployments": [*document["deployments"], odd]})
    told = gateway.ops("/admin/v1/config/reload", method="POST").json()
    assert told["result"] == "refused"
    assert [problem["path"] for problem in told["problems"]] == [
        f"deployments[{len(document['deployments'])}].tokenizer"
    ]
    assert gateway.chat().status_code == 200


def test_a_stream_survives_a_reload(gateway: Gateway, document: Json) -> None:
    """Even if its model and deployment are gone from the file; new requests see the new one."""
    with begin(gateway) as connection:
        names = {f"to-{STREAM}", STREAM}
        rest = {part: [one for one in document[part] if one["name"] not in names] for part in ("models", "deployments")}
        gateway.write({**document, **rest})
        assert gateway.ops("/admin/v1/config/reload", method="POST").json()["result"] == "changed"
        assert gateway.chat(STREAM).status_code == 404
        assert read_until(connection, b"data: [DONE]\n\n").count(b'"content":"') > 10


def test_bounds_take_effect_by_reload(gateway: Gateway, document: Json) -> None:
    """On connections that come afterwards, and on the next request."""
    gateway.write({**document, "server": {**document["server"], "header_timeout": 0.3, "max_body_bytes": 1024}})
    assert gateway.ops("/admin/v1/config/reload", method="POST").json()["result"] == "changed"
    began = time.monotonic()
    assert exchange(gateway.url, b"GET /livez HTTP/1.1\r\n").startswith(b"HTTP/1.1 408")
    assert time.monotonic() - began < 3
    assert gateway.chat(text="x" * 2000).status_code == 413


# --- the end -----------------------------------------------------------------------------------------------


def test_a_graceful_end(document: Json) -> None:
    """A stream that ends in time ends as ever; one that does not is told so and recorded; nobody new is let in."""
    with Gateway({**document, "server": {**document["server"], "shutdown_timeout": 2}}) as gateway:
        long, idle = begin(gateway, "hangs-after-3"), connect(gateway.url)
        with long, idle, begin(gateway) as short:
            idle.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
            assert Answers(idle).next().status == 200
            gateway.signal(signal.SIGTERM)
            assert idle.recv(100) == b""
            with pytest.raises(ConnectionRefusedError):
                connect(gateway.url)
            assert b"data: [DONE]" in read_until(short, b"0\r\n\r\n")
            assert short.recv(100) == b""
            goodbye = read_until(long, b"0\r\n\r\n")
            assert (b'"code":"overloaded"' in goodbye, b"[DONE]" in goodbye) == (True, False)
            assert gateway.wait() == 0
        outcomes = {line["model"]: line["outcome"] for line in gateway.lines()}
        assert outcomes == {STREAM: "ok", "hangs-after-3": "overloaded"}
        assert [line["output_tokens"] >= 3 for line in gateway.lines()] == [True, True]


def test_a_second_signal_ends_at_once(document: Json) -> None:
    """Whoever asks twice does not wait; what ran is recorded all the same."""
    with Gateway(document) as gateway, begin(gateway, "hangs-after-3") as connection:
        began = time.monotonic()
        gateway.signal(signal.SIGTERM)
        time.sleep(0.3)
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
        assert time.monotonic() - began < 5
        assert b"overloaded" in connection.recv(65536)
        (line,) = gateway.lines()
        assert (line["outcome"], line["usage"]) == ("overloaded", "at_least")


def test_a_gateway_ends_with_its_parent(document: Json) -> None:
    """`--with-parent`: when standard input ends, as if it had been told to."""
    with Gateway(document) as gateway:
        assert gateway._process is not None
        assert gateway._process.stdin is not None
        gateway._process.stdin.close()
        assert gateway.wait(10) == 0


def awake(gateway: Gateway, seconds: float) -> float:
    """Processor time that the gateway takes meanwhile."""
    before = cpu_seconds([gateway.pid])
    time.sleep(seconds)
    return cpu_seconds([gateway.pid]) - before


def test_a_worker_stays_awake_for_what_comes_next(document: Json) -> None:
    """As long as it was told to after the last bytes of a caller or an upstream, and while it serves few."""
    server = {"busy_poll": "600ms", "busy_poll_in_flight": 1}
    with Gateway({**document, "server": {**document["server"], **server}}) as gateway:
        assert gateway.chat(STREAM).status_code == 200
        assert awake(gateway, 0.4) > 0.08  # a core may have others to serve
        time.sleep(0.3)
        assert awake(gateway, 0.5) < 0.08
        with closing(begin(gateway, "hangs-after-3")), closing(begin(gateway, "hangs-after-3")):
            assert awake(gateway, 0.5) < 0.08


def test_a_worker_sleeps_where_it_is_not_told_to_stay_awake(gateway: Gateway) -> None:
    """The default."""
    assert gateway.chat(STREAM).status_code == 200
    assert awake(gateway, 0.4) < 0.08


# --- listening ---------------------------------------------------------------------------------------------


def server(host: str, port: int = 0, ops: tuple[str, int] | None = None, workers: int = 1) -> Any:
    """As much of a configuration as `listen` looks at."""
    where = SimpleNamespace(host=ops[0], port=ops[1]) if ops is not None else None
    return SimpleNamespace(server=SimpleNamespace(host=host, port=port, ops=where, workers=workers))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "0.0.0.0"])
def test_listening(host: str) -> None:
    """On either family, by name or address, with operators elsewhere."""
    listeners = listen(server(host, ops=("127.0.0.1", 0)))
    assert listeners.ops is not None
    with listeners.callers, listeners.ops:
        assert listeners.callers.getsockname()[1] != listeners.ops.getsockname()[1] != 0
        target = {"0.0.0.0": "127.0.0.1"}.get(host, host)
        socket.create_connection((target, listeners.callers.getsockname()[1]), timeout=5).close()


def test_holding_an_address_for_workers() -> None:
    """Nobody is answered there before a worker listens; another gateway of the same user is told that it is taken."""
    with listen(server("127.0.0.1", workers=2)).callers as held:
        host, port = held.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, port), timeout=5)
        with _beside(held) as own:
            own.listen()
            socket.create_connection((host, port), timeout=5).close()
            with pytest.raises(OSError, match=f"cannot listen on {host}:{port}: "):
                listen(server(host, port, workers=2))


@pytest.mark.parametrize("workers", [1, 2])
def test_listening_where_somebody_does(workers: int) -> None:
    """The message names the address; nothing stays bound."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        elsewhere = server("127.0.0.1", 0, ops=("127.0.0.1", port), workers=workers)
        for wanted in (server("127.0.0.1", port, workers=workers), elsewhere):
            with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: ") as raised:
                listen(wanted)
            assert raised.value.errno == errno.EADDRINUSE
