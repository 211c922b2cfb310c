"""The process around the fake upstream, as tests and the demo start it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.upstream import ROOT, Upstream
from tests.upstream.client import CHAT, Client, body


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def violate(upstream: Upstream, problem: Exception | None) -> None:
    """Send what must not be sent, and fail for a reason of one's own as well."""
    with upstream, Client(upstream) as client:
        client.request("POST", CHAT, body("echo"), x_api_key="k")
        if problem:
            raise problem


def test_leaving_raises_what_the_upstream_complained_about() -> None:
    """A violation fails the test that caused it."""
    upstream = Upstream()
    with pytest.raises(AssertionError, match="credential: x-api-key"):
        violate(upstream, None)
    assert not alive(upstream.pid)


def test_an_error_of_the_test_s_own_is_not_hidden_by_violations() -> None:
    """The first cause is what the reader must see."""
    upstream = Upstream()
    with pytest.raises(KeyError):
        violate(upstream, KeyError())
    assert not alive(upstream.pid)


async def test_it_works_in_async_tests_too() -> None:
    """Start, wait and stop do not block the loop."""
    async with Upstream(aliases={"chat": "answer-3"}, settings={"fingerprint": "blue"}) as upstream:
        with Client(upstream) as client:
            doc = client.chat("chat").doc
        assert (doc["system_fingerprint"], doc["usage"]["completion_tokens"]) == ("blue", 3)
        assert (await upstream.settled())["requests"] == 1


def test_log_and_record_are_files_of_json_lines(tmp_path: Path) -> None:
    """One line a request, written right after its last byte; the same as over HTTP."""
    log, record = tmp_path / "log.jsonl", tmp_path / "record.jsonl"
    with Upstream(log=log, record=record) as upstream, Client(upstream) as client:
        client.request("POST", CHAT, body("echo"), x_request_id="a")
        client.chat("fail-500")
        lines = upstream.log()
        assert [json.loads(line) for line in log.read_text().splitlines()] == lines
        assert upstream.find("a")["status"] == 200
        assert [json.loads(line) for line in record.read_text().splitlines()] == upstream.requests()
        with pytest.raises(AssertionError, match="0 requests b"):
            upstream.find("b")


def test_the_same_port_can_be_taken_again_after_a_crash() -> None:
    """For tests of replicas that go and come back."""
    with Upstream() as upstream:
        port = upstream.port
        with Client(upstream) as client:
            client.chat("echo")
            upstream.kill()
            with pytest.raises(OSError, match=r"."):
                client.chat("echo")
    with Upstream(port=port) as again, Client(again) as client:
        assert again.port == port
        assert client.chat("echo").status == 200


def test_a_server_that_cannot_start_says_so() -> None:
    """A port that is taken."""
    with Upstream() as upstream, pytest.raises(RuntimeError, match="did not start"):
        Upstream(port=upstream.port).start()


def test_no_server_outlives_the_process_that_started_it() -> None:
    """Even one that was killed."""
    code = (
        "import os, sys\n"
        "from tests.support.upstream import Upstream\n"
        "upstream = Upstream().start()\n"
        "print(upstream.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, timeout=20, check=False)
    pid = int(done.stdout)
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(pid)


def test_the_help_shows_the_grammar_and_the_first_line_is_json() -> None:
    """Pleasant for a person and for a program."""
    command = [sys.executable, "-m", "tests.upstream"]
    shown = subprocess.run([*command, "--help"], cwd=ROOT, stdout=subprocess.PIPE, timeout=20, check=True)
    assert b"rate-limited-first-K" in shown.stdout
    with subprocess.Popen([*command, "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        where = json.loads(process.stdout.readline())
        assert where["base_url"] == f"http://127.0.0.1:{where['port']}/v1"
        assert where["pid"] == process.pid
        process.terminate()
        assert process.wait(5) == 0
