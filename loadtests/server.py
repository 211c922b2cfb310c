"""Servers under test: started on chosen cores, waited for, stopped, and nothing of them left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from loadtests import cpu


class NotReadyError(Exception):
    """A server ended, or did not answer in time; the message holds the end of its log."""


def free_port(wanted: int = 0) -> int:
    """A loopback port for a server of this process's: the wanted one unless somebody listens there.

    It stays bound, without listening, while this process lives: connecting to it is refused, the kernel gives it to no
    other connection or server, and a server listens there that sets SO_REUSEADDR, as they all do, as often as it likes.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind(("127.0.0.1", wanted))
    except OSError:
        held.close()
        return free_port()
    port: int = held.getsockname()[1]
    held.detach()  # open for as long as the process
    return port


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a server, and the URL that answers 2xx once it is ready."""

    argv: tuple[str, ...]
    ready: str
    env: Mapping[str, str]
    patience: float = 30.0


@contextmanager
def _bound_to(cores: set[int] | None) -> Iterator[None]:
    """Bind this process for a moment: what it starts inherits that before its first thread runs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before if cores is None else cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def stoppable() -> Iterator[None]:
    """This process is ended by SIGTERM as by ^C, so that the servers that it started are stopped."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def settled_on(core: int) -> Iterator[None]:
    """The same, and on one core."""
    with stoppable(), _bound_to({core}):
        yield


class Server:
    """A process (and what it starts) in a session of its own, bound to `cores`, its output in `log`.

    It works in the log's folder.
    """

    def __init__(self, launch: Launch, log: Path, cores: Iterable[int] | None = None) -> None:
        self._launch, self._log = launch, log
        self._cores = None if cores is None else set(cores)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The first process; its descendants are `pids`."""
        if self._process is None:
            raise RuntimeError("not started")
        return self._process.pid

    def at(self, path: str) -> str:
        """The URL of a path on it."""
        return urllib.parse.urljoin(self._launch.ready, path)

    def pids(self) -> list[int]:
        """Every process that it runs now."""
        return cpu.tree(self.pid)

    def __enter__(self) -> Self:
        """Start, and wait until it answers."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self._log.parent), "LANG": "C.UTF-8", **self._launch.env}
        with self._log.open("wb") as log, _bound_to(self._cores):
            self._process = subprocess.Popen(
                self._launch.argv,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self._log.parent,
                env=env,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def pause(self) -> None:
        """Stop all of its processes where they are, until `resume`."""
        self._tell(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on, and wait until it answers; raises `NotReadyError`."""
        self._tell(signal.SIGCONT)
        self._wait()

    def _tell(self, number: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return  # its pid may be another's
        for pid in self.pids():
            with suppress(ProcessLookupError):  # a child that has just ended
                os.kill(pid, number)

    def __exit__(self, *_: object) -> None:
        """Ask it to end, then make it."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            self._tell(signal.SIGCONT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        with suppress(ProcessLookupError):  # children that outlived it, in the session that we gave it
            os.killpg(process.pid, signal.SIGKILL)

    def _wait(self) -> None:
        until = time.monotonic() + self._launch.patience
        while time.monotonic() < until:
            if self._process is not None and self._process.poll() is not None:
                raise NotReadyError(f"{self._launch.argv[0]} ended with {self._process.returncode}: {self._tail()}")
            try:
                with urllib.request.urlopen(self._launch.ready, timeout=2):
                    return
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
        raise NotReadyError(f"{self._launch.argv[0]} was not ready in {self._launch.patience:.0f} s: {self._tail()}")

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-600:]
