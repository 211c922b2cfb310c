"""Servers under test start on their cores, are waited for, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from loadtests.server import Launch, NotReadyError, Server, free_port

SERVE = """
import http.server, subprocess, sys
{0}
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""
CHILD = "subprocess.Popen(['sleep', '300'])"


def launch(code: str, patience: float = 10) -> Launch:
    """A Python program that gets a free port as its argument."""
    port = free_port()
    return Launch((sys.executable, "-c", code, str(port)), f"http://127.0.0.1:{port}/", {"GIVEN": "yes"}, patience)


def gone(pid: int) -> bool:
    """Whether a process has ended; what was killed takes a moment."""
    until = time.monotonic() + 2
    while time.monotonic() < until:
        try:
            if not Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_a_free_port_stays_free() -> None:
    """Nobody answers there, and the kernel gives it to nobody; who asks for it may listen, stop, and listen again."""
    port = free_port()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    for _ in range(2):
        with socket.create_server(("127.0.0.1", port)):
            socket.create_connection(("127.0.0.1", port)).close()


def test_a_server_runs_on_its_core_and_ends_with_its_children(tmp_path: Path) -> None:
    """Inside the block it answers; after it neither it nor what it started is there."""
    with Server(launch(SERVE.format(CHILD)), tmp_path / "log", [0]) as server:
        pids = server.pids()
        assert len(pids) == 2
        assert all(os.sched_getaffinity(pid) == {0} for pid in pids)
    assert not [pid for pid in pids if not gone(pid)]


def state(pid: int) -> str:
    """`T` for a process that was stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def still(pid: int) -> bool:
    """Whether a process stands still; stopping takes a moment."""
    until = time.monotonic() + 2
    while state(pid) != "T" and time.monotonic() < until:
        time.sleep(0.01)
    return state(pid) == "T"


def test_a_server_stands_still_and_goes_on(tmp_path: Path) -> None:
    """With its children; when it was told to go on, it has answered."""
    with Server(launch(SERVE.format(CHILD)), tmp_path / "log") as server:
        pids = server.pids()
        server.pause()
        assert all(still(pid) for pid in pids)
        server.resume()
        with urllib.request.urlopen(server.at("/"), timeout=5) as answer:
            assert answer.status == 200
        assert "T" not in map(state, pids)


def test_who_stands_still_ends_like_everyone(tmp_path: Path) -> None:
    """Soon, and by its own doing."""
    with Server(launch(SERVE.format(CHILD)), tmp_path / "log") as server:
        pids = server.pids()
        server.pause()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert not [pid for pid in pids if not gone(pid)]


def test_who_has_ended_does_not_go_on(tmp_path: Path) -> None:
    """Nobody else is stopped in its place, and the reason says how it ended."""
    with Server(launch(SERVE.format("")), tmp_path / "log") as server:
        os.kill(server.pid, signal.SIGKILL)
        assert gone(server.pid)
        server.pause()
        with pytest.raises(NotReadyError, match="ended with -9"):
            server.resume()


def test_its_cores_are_not_ours(tmp_path: Path) -> None:
    """This process may run where it could before."""
    before = os.sched_getaffinity(0)
    with Server(launch(SERVE.format("")), tmp_path / "log", [0]):
        assert os.sched_getaffinity(0) == before


def test_the_environment_is_what_was_given(tmp_path: Path) -> None:
    """Nothing of ours leaks into what is measured."""
    code = SERVE.format("import os; print(sorted(os.environ), flush=True)")
    with Server(launch(code), tmp_path / "log"):
        seen = (tmp_path / "log").read_text().splitlines()[0]
    assert seen == "['GIVEN', 'HOME', 'LANG', 'PATH']" or "LC_CTYPE" in seen


@pytest.mark.parametrize(
    ("code", "words"), [("sys_exit", "ended with 1"), ("import time; time.sleep(60)", "not ready")]
)
def test_what_does_not_start_says_why(tmp_path: Path, code: str, words: str) -> None:
    """With the end of its log, and without staying."""
    with pytest.raises(NotReadyError, match=words), Server(launch(code, patience=0.5), tmp_path / "log"):
        pass
