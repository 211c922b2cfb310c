"""Starting and stopping real server processes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.server import free_port
from scripts.vllm.server import Server, ServerError, answers
from tests.support.vllm import until

SERVE = """
import http.server, sys
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + SERVE
PARENT = (
    "import os, subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', os.environ['CHILD'], sys.argv[1]]))"
)


def start(tmp_path: Path, code: str, **env: str) -> Server:
    """A Python process that runs `code` with a free port as its argument."""
    port = free_port()
    command = [sys.executable, "-c", code, str(port)]
    return Server(command, port=port, ready="/", log=tmp_path / "log", env=env)


def gone(group: int) -> bool:
    """Whether no process of this group is left, but for dead ones that nobody has buried yet."""
    return all(state == "Z" for state in states(group))


def states(group: int) -> Iterator[str]:
    """The state letters of a group's processes; `/proc/PID/stat` is: pid (name) state parent group."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group:
                yield state


def test_a_server_is_ready_when_it_answers_and_gone_when_stopped(tmp_path: Path) -> None:
    """As a context manager; stopping twice is fine."""
    with start(tmp_path, SERVE).wait(20) as server:
        assert answers(server.base)
        pid = server.pid
    server.stop()
    assert until(lambda: gone(pid), bool)
    assert not answers(server.base)


def test_children_end_with_it(tmp_path: Path) -> None:
    """vLLM's engine and workers are children; here the server itself is one."""
    server = start(tmp_path, PARENT, CHILD=SERVE).wait(20)
    server.stop()
    assert until(lambda: gone(server.pid), bool)
    assert not answers(server.base)


def test_one_that_does_not_listen_to_reason_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a bound, and with everything that it started."""
    monkeypatch.setattr("scripts.vllm.server.STOP_SECONDS", 0.2)
    server = start(tmp_path, PARENT, CHILD=STUBBORN).wait(20)
    server.stop()
    assert until(lambda: gone(server.pid), bool)


def test_one_that_ends_at_once_tells_why(tmp_path: Path) -> None:
    """The end of its log is in the error."""
    with pytest.raises(ServerError, match="no such model"):
        start(tmp_path, "raise SystemExit('no such model')").wait(20)


def test_one_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """And stopped."""
    server = start(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(ServerError, match="never answered"):
        server.wait(0.3)
    assert until(lambda: gone(server.pid), bool)


def test_a_wanted_port_that_is_taken_gives_another(tmp_path: Path) -> None:
    """A free one is given as wanted."""
    wanted = free_port()
    assert free_port(wanted) == wanted
    with start(tmp_path, SERVE).wait(20) as server:
        taken = int(server.base.rsplit(":", 1)[1])
        assert free_port(taken) != taken
