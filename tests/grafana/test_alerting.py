"""An alert, end to end: a deployment fails under load, the rule fires, Alertmanager routes, a webhook is told."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from loadtests.server import free_port
from tests.grafana.promql import PROMETHEUS
from tests.support.gateway import Gateway, one_each
from tests.support.prometheus import RULES, Prometheus, installed
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.prometheus, pytest.mark.timeout(300)]
CONFIG = Path("deploy/alertmanager/alertmanager.yml")


class Webhook(ThreadingHTTPServer):
    """Keeps what it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Told)
        self.alerts: list[dict[str, Any]] = []


class Told(BaseHTTPRequestHandler):
    """One notification."""

    server: Webhook

    def do_POST(self) -> None:
        """Take it."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.alerts += orjson.loads(body)["alerts"]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's own name
        """Nothing."""


def routed_to(url: str, folder: Path) -> Path:
    """The repository's Alertmanager configuration, its receiver being a webhook, and quick to tell."""
    document = yaml.safe_load(CONFIG.read_text())
    document["receivers"] = [{"name": "nobody", "webhook_configs": [{"url": url, "send_resolved": False}]}]
    document["route"]["group_wait"] = "1s"
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(document))
    return path


def impatient(folder: Path) -> tuple[Path, Path]:
    """The repository's rules and alerts; what must hold for minutes must hold for two seconds."""
    alerts = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
    for rule in alerts["groups"][0]["rules"]:
        rule["for"] = "2s"
    path = folder / "alerts.yml"
    path.write_text(yaml.safe_dump(alerts))
    return RULES / "rules.yml", path


def test_an_outage_reaches_the_webhook(upstream: Upstream, tmp_path: Path) -> None:
    """As `SluicegateErrorBudgetBurnFast`, a page, with the model's name and the way to its runbook."""
    with ExitStack() as stack:
        webhook = stack.enter_context(Webhook())
        threading.Thread(target=webhook.serve_forever, daemon=True).start()
        stack.callback(webhook.shutdown)
        config = routed_to(f"http://127.0.0.1:{webhook.server_port}", tmp_path)
        port = free_port()
        command = [
            installed("prometheus-alertmanager"), f"--config.file={config}", f"--storage.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", "--log.level=error",
        ]  # fmt: skip
        manager = subprocess.Popen(command)
        stack.callback(manager.wait, 20)
        stack.callback(manager.terminate)
        gateway = stack.enter_context(Gateway(one_each(upstream.url, ["fail-500"])))
        target = gateway.ops_url.removeprefix("http://")
        rules = impatient(tmp_path)
        stack.enter_context(Prometheus(target, alertmanager=f"127.0.0.1:{port}", rules=rules))
        end = time.monotonic() + 120
        while not any(alert["labels"]["alertname"] == "SluicegateErrorBudgetBurnFast" for alert in webhook.alerts):
            assert time.monotonic() < end, webhook.alerts
            gateway.chat("fail-500")
            time.sleep(0.2)
        (told, *_) = [one for one in webhook.alerts if one["labels"]["alertname"] == "SluicegateErrorBudgetBurnFast"]
        assert (told["labels"]["severity"], told["labels"]["model"]) == ("page", "fail-500")
        assert told["annotations"]["runbook"] == "docs/runbooks.md#sluicegateerrorbudgetburnfast"
        assert told["status"] == "firing"
