"""Runs the OpenTelemetry receiver as a process of its own, and reads what it was sent."""

from __future__ import annotations

import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Self

import httpx2

from tests.support.gateway import PLAIN, ROOT

Json = dict[str, Any]


class Receiver:
    """One receiver. A context manager; `url` is its base address."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.support.otlp_server"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def mode(self, mode: str) -> None:
        """How to answer from now on."""
        httpx2.post(f"{self.url}/mode/{mode}", **PLAIN).raise_for_status()

    def held(self) -> Json:
        """Everything that came: `spans` and `requests`."""
        found: Json = httpx2.get(f"{self.url}/spans", **PLAIN).json()
        return found

    def trace(self, trace_id: str, *, spans: int, seconds: float = 20) -> list[Json]:
        """The spans of a trace, the server's first, once there are so many. Raises AssertionError if there are more."""
        end = time.monotonic() + seconds
        while len(found := [span for span in self.held()["spans"] if span["trace"] == trace_id]) < spans:
            assert time.monotonic() < end, f"{len(found)} of {spans} spans came: {found}"
            time.sleep(0.05)
        assert len(found) == spans, found
        return sorted(found, key=lambda span: (span["kind"] != 2, span["began"]))
