"""Several workers are one gateway: sums are exact, whoever dies is replaced, and they stop together."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, Json, one_each
from tests.support.postgres import Postgres
from tests.support.processes import alive, ended
from tests.support.sockets import Answers, chat_request, connect, read_until
from tests.support.upstream import ROOT, Upstream

STREAM = "answer-30+pace-20ms"
TWO = ("--workers", "2")


@pytest.fixture(scope="module")
def document(upstream_process: Upstream) -> Iterator[Json]:
    """A configuration with a quick model and two slow ones, and the database that workers share."""
    with Postgres() as server:
        stores = {"database": server.url}
        yield one_each(upstream_process.url, [STREAM, "slow-300ms", "hangs-after-3"], sections={"stores": stores})


@pytest.fixture(scope="module")
def gateway(document: Json) -> Iterator[Gateway]:
    """A gateway with two workers."""
    with Gateway(document, arguments=TWO) as running:
        running.until(lambda: set(running.workers()) == {0, 1})
        yield running


def crowd(gateway: Gateway, model: str = "slow-300ms", *, count: int = 24) -> Counter[int]:
    """Statuses of so many requests at once, each on a connection of its own: both workers have to serve."""
    with ExitStack() as stack:
        connections = [stack.enter_context(closing(connect(gateway.url))) for _ in range(count)]
        for connection in connections:
            connection.sendall(chat_request(model, stream=False))
        return Counter(Answers(connection).next().status for connection in connections)


def settled(gateway: Gateway) -> None:
    """Metrics and access log agree, and nothing is in flight."""
    gateway.until(lambda: sum(gateway.outcomes().values()) == len(gateway.lines()))
    assert gateway.outcomes() == Counter(line["outcome"] for line in gateway.lines())
    gateway.until(lambda: gateway.value("sluicegate_in_flight") == 0)


def has_reloaded(gateway: Gateway, result: str = "changed") -> float:
    """How many reloads of all workers ended so."""
    return gateway.value("sluicegate_config_reloads_total", result=result)


def with_model(document: Json, name: str) -> Json:
    """The configuration with one more model."""
    return {**document, "models": [*document["models"], {**document["models"][0], "name": name}]}


def test_each_worker_is_a_process(gateway: Gateway) -> None:
    """Of its own, under the supervisor, which serves nothing; all have one address."""
    pids = set(gateway.workers().values())
    assert len(pids | {gateway.pid}) == 3
    assert pids == {int(pid) for pid in Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children").read_text().split()}
    assert {line["url"] for line in gateway.said("listening")} == {gateway.url}


def test_connections_are_spread_whoever_wakes_first(gateway: Gateway) -> None:
    """Each worker gets its part of a pool: of 64 fewer than 12 by chance once in a million times."""
    before, asleep = files(gateway), gateway.workers()[1]
    with ExitStack() as stack:
        os.kill(asleep, signal.SIGSTOP)
        try:
            for _ in range(64):
                stack.enter_context(closing(connect(gateway.url)))
            time.sleep(0.3)
        finally:
            os.kill(asleep, signal.SIGCONT)
        gateway.until(lambda: sum(files(gateway)) - sum(before) >= 64)
        assert min(now - then for now, then in zip(files(gateway), before, strict=True)) >= 12


def files(gateway: Gateway) -> list[int]:
    """Open descriptors of each worker."""
    return [sum(1 for _ in Path(f"/proc/{gateway.workers()[one]}/fd").iterdir()) for one in (0, 1)]


def test_metrics_are_those_of_all_workers(gateway: Gateway) -> None:
    """Whichever is asked: exact sums, and the access log's."""
    assert crowd(gateway) == {200: 24}
    assert crowd(gateway, "nobody", count=6) == {404: 6}
    settled(gateway)
    answers = [gateway.metrics() for _ in range(8)]
    requests = [{key: value for key, value in answer.items() if "requests" in key[0]} for answer in answers]
    assert all(one == requests[0] for one in requests)
    assert gateway.value("sluicegate_build_info") == 2
    tokens = gateway.value("gen_ai_client_token_usage_sum", gen_ai_token_type="output")
    assert tokens == sum(line.get("output_tokens", 0) for line in gateway.lines())


def test_a_killed_worker_is_replaced_and_nothing_is_forgotten(gateway: Gateway, document: Json) -> None:
    """Its counts stay, its gauges go; its successor reads the file before it serves."""
    gateway.write(with_model(document, "fresh"))
    assert gateway.ops("/admin/v1/config/reload", method="POST").status_code == 200
    crowd(gateway)
    settled(gateway)
    before, listening = gateway.outcomes(), len(gateway.said("listening"))
    victim = gateway.workers()[1]
    os.kill(victim, signal.SIGKILL)
    gateway.until(lambda: len(gateway.said("listening")) > listening)
    assert crowd(gateway, "fresh") == {200: 24}
    settled(gateway)
    assert gateway.outcomes()["ok"] == before["ok"] + 24
    assert gateway.value("sluicegate_build_info") == 2
    (told,) = [line for line in gateway.said() if line.get("pid") == victim and line["level"] == "error"]
    assert (told["worker"], told["status"]) == (1, signal.SIGKILL)
    assert gateway.workers()[1] != victim


@pytest.mark.parametrize("how", ["admin", "signal", "file"])
def test_all_workers_reload(gateway: Gateway, document: Json, how: str) -> None:
    """Whoever is told, and however."""
    before = has_reloaded(gateway)
    gateway.write(with_model(document, f"by-{how}"))
    if how == "admin":
        assert gateway.ops("/admin/v1/config/reload", method="POST").json()["result"] == "changed"
    elif how == "signal":
        gateway.signal(signal.SIGHUP)
    gateway.until(lambda: has_reloaded(gateway) == before + 2)
    assert crowd(gateway, f"by-{how}", count=12) == {200: 12}


def test_a_bad_file_reaches_no_worker(gateway: Gateway, document: Json) -> None:
    """Both refuse it, and go on; it takes effect once it is mended."""
    before = has_reloaded(gateway, "refused"), has_reloaded(gateway)
    gateway.config_file.write_text("models: 7")
    assert gateway.ops("/admin/v1/config/reload", method="POST").status_code == 400
    gateway.signal(signal.SIGHUP)
    gateway.until(lambda: has_reloaded(gateway, "refused") >= before[0] + 3)
    assert crowd(gateway, "echo", count=12) == {200: 12}
    gateway.write(with_model(document, "mended"))
    gateway.until(lambda: has_reloaded(gateway) == before[1] + 2)


def test_ctrl_c_lets_streams_end(document: Json) -> None:
    """The terminal tells the whole group; that is one request to stop, not two, and not an order to die."""
    with Gateway(document, arguments=TWO) as gateway:
        gateway.until(lambda: set(gateway.workers()) == {0, 1})
        workers = gateway.workers().values()
        with ExitStack() as stack:
            streams = [stack.enter_context(closing(connect(gateway.url))) for _ in range(6)]
            for stream in streams:
                stream.sendall(chat_request(STREAM, stream=True))
                read_until(stream, b'"content":"')
            for pid in (gateway.pid, *workers):
                os.kill(pid, signal.SIGINT)
            assert all(b"[DONE]" in read_until(stream, b"0\r\n\r\n") for stream in streams)
            with pytest.raises(ConnectionRefusedError):
                connect(gateway.url)
        assert gateway.wait() == 0
        assert not any(alive(pid) for pid in workers)
        assert [line["outcome"] for line in gateway.lines()] == ["ok"] * 6


def test_no_worker_outlives_its_supervisor(document: Json) -> None:
    """Killed with -9 it can tell nobody; they notice, let streams end and go."""
    with Gateway(document, arguments=TWO) as gateway:
        gateway.until(lambda: set(gateway.workers()) == {0, 1})
        workers = gateway.workers().values()
        with connect(gateway.url) as stream:
            stream.sendall(chat_request(STREAM, stream=True))
            read_until(stream, b'"content":"')
            gateway.signal(signal.SIGKILL)
            assert b"[DONE]" in read_until(stream, b"0\r\n\r\n")
        assert gateway.wait() == -signal.SIGKILL
        assert all(ended(pid) for pid in workers)


SUPERVISOR = """
import os, sys, time
from app.workers import Supervisor

def work(worker, folder):
    (folder / str(worker)).write_text("here")
    os.write(1, b"%d %d\\n" % (worker, os.getpid()))
    {work}

{before}
sys.exit(Supervisor({count}, work, lambda: None, {prepare}).run())
"""


@contextmanager
def supervise(work: str, count: int = 2, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """A supervisor alone, with workers that do one thing; one of them has begun."""
    code = SUPERVISOR.format(work=work, count=count, before=before, prepare=None)
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline()
            yield process
        finally:
            process.terminate()


@pytest.mark.parametrize("seed", range(8))
def test_a_signal_at_any_moment_is_heard(seed: int) -> None:
    """Also while workers are being started, by everyone: the end comes soon, and nobody is left."""
    with supervise("time.sleep(30)", count=6) as process:
        time.sleep(random.Random(seed).uniform(0, 0.02))
        process.send_signal(random.Random(seed).choice([signal.SIGTERM, signal.SIGINT]))
        assert process.wait(10) == 0
        assert process.stdout
        pids = [int(line.split()[1]) for line in process.stdout.read().splitlines()]
    assert not any(alive(pid) for pid in pids)


def test_who_is_told_to_stop_before_the_first_worker_starts_none() -> None:
    """Nothing that came while the folder was prepared is lost."""
    prepare = "lambda folder: os.kill(os.getpid(), 15)"
    code = SUPERVISOR.format(work="time.sleep(30)", count=2, before="", prepare=prepare)
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=10, check=False)
    assert (ended.returncode, ended.stdout) == (0, b"")


def test_workers_are_replaced_also_where_ends_of_processes_were_ignored() -> None:
    """As some launchers leave it to whom they start."""
    with supervise("return 3", before="import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)") as process:
        assert process.stdout
        begun = Counter(process.stdout.readline().split()[0] for _ in range(5))
        process.terminate()
        assert process.wait(10) == 0
    assert set(begun) == {"0", "1"}


def test_reloads_while_workers_die_kill_nobody_else() -> None:
    """A signal for a worker that has just been reaped, or has no handler yet, is no reason to end."""
    with supervise("time.sleep(0.02); return 3", count=4) as process:
        for _ in range(100):
            process.send_signal(signal.SIGHUP)
            time.sleep(0.005)
        assert process.poll() is None
        process.terminate()
        assert process.wait(10) == 0


def test_workers_that_die_at_once_are_replaced_ever_more_slowly() -> None:
    """No storm of processes; and whoever is told to stop during a pause does not wait for its end."""
    with supervise("return 1", count=1) as process:
        time.sleep(2.5)
        told = time.monotonic()
        process.terminate()
        assert process.wait(10) == 0
        assert time.monotonic() - told < 1
        assert process.stdout
        assert 2 <= len(process.stdout.readlines()) <= 6
