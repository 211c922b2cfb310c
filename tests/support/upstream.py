"""Runs the fake upstream (`tests.upstream`) as a process of its own, for tests, the demo and the load tests."""

from __future__ import annotations

import asyncio
import http.client
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

ROOT = Path(__file__).resolve().parents[2]
_READY_S = 20
_STOP_S = 5


class Upstream:
    """One fake upstream. A context manager, sync or async; leaving it raises AssertionError if there were violations.

    `url` is the server, `base_url` ends in `/v1`. The control calls are short and synchronous (they take about a
    millisecond), so they may be made from async tests as well; only what waits has an async form.
    """

    def __init__(
        self,
        *,
        aliases: dict[str, str] | None = None,
        settings: dict[str, Any] | None = None,
        log: Path | None = None,
        record: Path | None = None,
        port: int = 0,
        keep: int = 50_000,
    ) -> None:
        self._arguments = [
            "--port",
            str(port),
            "--keep",
            str(keep),
            "--set",
            orjson.dumps(settings or {}).decode(),
            "--with-parent",
        ]
        for name, spec in (aliases or {}).items():
            self._arguments += ["--alias", f"{name}={spec}"]
        for option, path in (("--log", log), ("--record", record)):
            self._arguments += [option, str(path)] if path else []
        self._process: subprocess.Popen[bytes] | None = None
        self.host = ""
        self.port = port
        self.url = ""
        self.base_url = ""
        self.pid = 0

    # --- life --------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the process; returns when it listens."""
        command = [sys.executable, "-m", "tests.upstream", *self._arguments]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout
        line = self._process.stdout.readline()  # ends with the process if it cannot start
        if not line:
            code = self._process.wait(_READY_S)
            self.stop()
            raise RuntimeError(f"the fake upstream did not start: exit {code}")
        where = orjson.loads(line)
        self.host, self.port, self.url, self.base_url, self.pid = (
            where[name] for name in ("host", "port", "url", "base_url", "pid")
        )
        return self

    def stop(self) -> None:
        """End the process, by its id. Does not look at violations."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()

    def kill(self) -> None:
        """End it as a crash would: no farewell on any connection."""
        assert self._process
        self._process.kill()
        self._process.wait()
        self.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            found = self.violations() if self._process and self._process.poll() is None else []
        finally:
            self.stop()
        if kind is None:
            raise_violations(found)

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, problem, trace)

    # --- control -----------------------------------------------------------------------------------------

    def log(self, *, since: int = 0) -> list[dict[str, Any]]:
        """Requests that are over, oldest first; fields as in `tests.upstream.state.Record`."""
        found: list[dict[str, Any]] = self._call("GET", f"log?since={since}")
        return found

    def find(self, request_id: str) -> dict[str, Any]:
        """The one log line of this x-request-id. Raises AssertionError if there is none, or more than one."""
        found = [line for line in self.log() if line["id"] == request_id]
        assert len(found) == 1, f"{len(found)} requests {request_id} reached the upstream"
        return found[0]

    def requests(self) -> list[dict[str, Any]]:
        """The last 100 requests as they came: `headers` as pairs, `body` as text."""
        found: list[dict[str, Any]] = self._call("GET", "requests")
        return found

    def bodies(self) -> list[Any]:
        """The JSON bodies of the last requests that had one."""
        return [orjson.loads(request["body"]) for request in self.requests() if request["body"]]

    def stats(self) -> dict[str, Any]:
        """Counters."""
        found: dict[str, Any] = self._call("GET", "stats")
        return found

    def violations(self) -> list[dict[str, Any]]:
        """What must not have happened."""
        found: list[dict[str, Any]] = self._call("GET", "violations")
        return found

    def set(self, **settings: Any) -> None:
        """Change settings; names as in `tests.upstream.state.Settings`."""
        self._call("POST", "set", settings)

    def reset(self) -> None:
        """Settings of the start, empty log, counters and violations; answers under way are broken off."""
        self._call("POST", "reset", {})

    def check(self) -> None:
        """Raise AssertionError if there are violations."""
        raise_violations(self.violations())

    def wait(self, until: Callable[[dict[str, Any]], bool], *, seconds: float = 5) -> dict[str, Any]:
        """Wait until the stats satisfy `until`. Raises AssertionError if they do not in time."""
        end = time.monotonic() + seconds
        while not until(stats := self.stats()):
            assert time.monotonic() < end, f"the upstream is not as expected after {seconds} s: {stats}"
            time.sleep(0.005)
        return stats

    async def settled(self, *, seconds: float = 5) -> dict[str, Any]:
        """Wait until no answer is under way; returns the stats."""
        return await self.until(lambda stats: stats["running"] == 0, seconds=seconds)

    async def until(self, wanted: Callable[[dict[str, Any]], bool], *, seconds: float = 5) -> dict[str, Any]:
        """`wait`, for async tests."""
        end = time.monotonic() + seconds
        while not wanted(stats := self.stats()):
            assert time.monotonic() < end, f"the upstream is not as expected after {seconds} s: {stats}"
            await asyncio.sleep(0.005)
        return stats

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request(method, f"/_control/{path}", None if body is None else orjson.dumps(body))
            response = connection.getresponse()
            answer = orjson.loads(response.read())
        finally:
            connection.close()
        assert response.status == 200, answer
        return answer


def raise_violations(found: list[dict[str, Any]]) -> None:
    """Raise AssertionError that lists them, if there are any."""
    if found:
        lines = "\n".join(
            f"  {each['kind']}: {each['detail']}  ({each.get('path', '')} seq {each.get('seq', '-')})" for each in found
        )
        message = f"{len(found)} violation(s) at the fake upstream:\n{lines}"
        raise AssertionError(message)
