"""Start and stop real servers for the demo and the tests: vLLM by `serve.sh`, the gateway by its own command.

A server is a process group of its own: vLLM starts an engine and workers, and all of them end together. Its output
goes to a log file. Starting waits, within a bound, until a URL answers 200.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from loadtests.server import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 600.0
"""vLLM takes 20 to 50 s on two idle cores, and several times that on busy ones."""
STOP_SECONDS = 10.0
"""How long a server may take over ending; vLLM can wait for minutes when streams are open."""

TOOLS = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
"""vLLM's options for tool calls in the form that SmolLM2 was taught."""


class ServerError(Exception):
    """A server that did not come up, with the end of its log."""


def answers(url: str) -> bool:
    """Whether a GET is answered with 200 within a second."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


class Server:
    """A server process: `base` is its root URL, `ready` the path that answers 200 once it serves."""

    def __init__(
        self, command: Sequence[str | Path], *, port: int, ready: str, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.log = log
        self._ready = self.base + ready
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The leader of the process group."""
        return self._process.pid

    def wait(self, seconds: float = START_SECONDS) -> Self:
        """Return once it is ready. Raises ServerError, the server stopped, when it ends or takes longer."""
        deadline = time.monotonic() + seconds
        while not answers(self._ready):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServerError(f"{self._ready} never answered 200; the end of {self.log}:\n{self.log_end()}")
            time.sleep(0.1)
        return self

    def stop(self) -> None:
        """End the whole process group: politely, then for good. Safe to call twice."""
        if self._signal(signal.SIGTERM):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def log_end(self, size: int = 3000) -> str:
        """The last characters of its log."""
        return self.log.read_text(errors="replace")[-size:]

    def _signal(self, number: signal.Signals) -> bool:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def vllm(name: str, log: Path, *options: str, **env: str) -> Server:
    """Start `serve.sh` on a free port; `env` is what serve.sh reads (MODEL, THREADS, ...). It is not yet ready."""
    port = free_port()
    script = ROOT / "scripts" / "vllm" / "serve.sh"
    return Server(
        [script, str(port), name, *options], port=port, ready="/health", log=log, env={"ORPHAN": "stop", **env}
    )


def gateway(config: Path, port: int, log: Path, **env: str) -> Server:
    """Start `sluicegate serve` on a config whose `server.port` is `port`. It is not yet ready."""
    command = ROOT / ".venv" / "bin" / "sluicegate"
    return Server([command, "serve", "--config", config], port=port, ready="/livez", log=log, env=env)


def engine_pid(server: Server) -> int:
    """The engine process behind a server."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
            if fields["PPid"].strip() == str(server.pid) and "EngineCore" in (status.parent / "cmdline").read_text():
                return int(status.parent.name)
    raise LookupError(f"process {server.pid} has no engine")
