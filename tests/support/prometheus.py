"""Runs a real Prometheus on a free port, from its Debian package, and asks it."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2

from loadtests.server import free_port
from tests.support.gateway import PLAIN, ROOT
from tests.support.servers import Starting

RULES = ROOT / "deploy" / "prometheus"
_READY_S = 30

Sample = tuple[dict[str, str], float]


def installed(program: str) -> str:
    """The program's path. Raises AssertionError that says what to install."""
    found = shutil.which(program)
    assert found, f"{program} is missing: apt-get install -y --no-install-recommends prometheus prometheus-alertmanager"
    return found


class Prometheus(Starting):
    """One server that scrapes `target` (host:port) every second. A context manager; leaving it stops the server."""

    def __init__(self, target: str, *, alertmanager: str | None = None, rules: tuple[Path, ...] | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sluicegate-prometheus-")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        names = rules if rules is not None else (RULES / "rules.yml", RULES / "alerts.yml")
        managers = [{"static_configs": [{"targets": [alertmanager]}]}] if alertmanager else []
        self._config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in names],
            "alerting": {"alertmanagers": managers},
            "scrape_configs": [{"job_name": "sluicegate", "static_configs": [{"targets": [target]}]}],
        }

    def _begin(self) -> None:
        config = Path(self._folder.name) / "prometheus.yml"
        config.write_text(json.dumps(self._config))  # JSON is YAML
        command = [
            installed("prometheus"), f"--config.file={config}", f"--web.listen-address=127.0.0.1:{self.port}",
            f"--storage.tsdb.path={self._folder.name}/data", "--enable-feature=exemplar-storage", "--log.level=error",
        ]  # fmt: skip
        self._process = subprocess.Popen(command, cwd=self._folder.name)
        end = time.monotonic() + _READY_S
        while not self._ready():
            assert self._process.poll() is None, "Prometheus has ended"
            assert time.monotonic() < end, "Prometheus is not ready"
            time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
        self._folder.cleanup()

    def _ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/-/ready", **PLAIN).status_code == 200
        except httpx2.HTTPError:
            return False

    def ask(self, expr: str) -> list[Sample]:
        """An instant query: labels and value of each sample. Raises AssertionError where Prometheus refuses it."""
        answer = self._api("query", query=expr)
        if answer["resultType"] == "scalar":
            return [({}, float(answer["result"][1]))]
        return [(one["metric"], float(one["value"][1])) for one in answer["result"]]

    def at(self, expr: str, moment: float) -> Any:
        """An instant query at a Unix time, as the API answers it."""
        return self._api("query", query=expr, time=moment)["result"]

    def over_time(self, expr: str, start: float, end: float, step: float) -> Any:
        """A range query, as the API answers it."""
        return self._api("query_range", query=expr, start=start, end=end, step=step)["result"]

    def figure(self, expr: str) -> float:
        """The one finite number that a query gives."""
        found = [value for _, value in self.ask(expr) if math.isfinite(value)]
        assert len(found) == 1, (expr, found)
        return found[0]

    def label_values(self, metric: str, label: str) -> list[str]:
        """What a variable of a dashboard offers."""
        found: list[str] = self._api(f"label/{label}/values", **{"match[]": metric})
        return found

    def exemplars(self, expr: str) -> list[dict[str, Any]]:
        """The exemplars that a panel would show for the last minutes."""
        now = time.time()
        series = self._api("query_exemplars", query=expr, start=now - 600, end=now + 60)
        return [exemplar for one in series for exemplar in one["exemplars"]]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, as it was evaluated last."""
        groups = self._api("rules")["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def _api(self, path: str, **parameters: Any) -> Any:
        answer = httpx2.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30, **PLAIN).json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]
