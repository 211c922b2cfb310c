"""The fake content safety services as a process of their own."""

from __future__ import annotations

import http.client
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

import orjson

from tests.support.safety_services_server import KEY
from tests.support.upstream import ROOT

__all__ = ["KEY", "SafetyServices"]


class SafetyServices:
    """One such process. A context manager."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.support.safety_services_server"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=20)

    def requests(self) -> list[dict[str, Any]]:
        """Path and body of every question so far."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", "/requests")
            found: list[dict[str, Any]] = orjson.loads(connection.getresponse().read())
            return found
        finally:
            connection.close()
