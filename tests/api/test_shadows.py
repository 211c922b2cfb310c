"""The report on shadows through the admin API and the command line; the figures are a journey's (test_shadow.py)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from app.cli import main
from tests.support.gateway import ADMIN_KEY, KEY, VIEWER_KEY, Gateway, config, deployment
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """One gateway with a model that has a shadow, and whose name holds a slash."""
    url = upstream_process.url
    deployments = [deployment("v1", url, "answer-2@1"), deployment("v2", url, "answer-2@2")]
    shadow = {"to": "v2", "sample": 1, "budget": {"window": "day", "usd": 1}}
    with Gateway(
        config(deployments, [{"name": "org/chat", "stable": "v1", "shadow": shadow}, {"name": "echo", "stable": "v1"}])
    ) as running:
        running.until(lambda: running.ops("/readyz").json()["checks"]["ledger"] == "ok", seconds=30)
        yield running


def test_a_report(gateway: Gateway) -> None:
    """Nothing yet, then one pair; as JSON and for a person."""
    path = "/admin/v1/rollouts/org/chat/shadow-report"
    assert gateway.admin(path).json() == {"model": "org/chat", "hours": 24.0, "pairs": []}
    assert gateway.chat("org/chat").status_code == 200
    gateway.until(lambda: gateway.admin(path, key=VIEWER_KEY).json()["pairs"] != [], seconds=20)
    environment = {"SLUICEGATE_ADMIN_KEY": ADMIN_KEY, "SLUICEGATE_ADMIN_URL": gateway.ops_url}
    runner = CliRunner(env=environment)
    told = runner.invoke(main, ["rollout", "shadow-report", "org/chat"]).output
    assert told.startswith("v2 beside v1: 1 comparisons, both answered 1\n")
    assert "same letters, median   1\n" in told
    assert '"both_answered":1' in runner.invoke(main, ["rollout", "shadow-report", "org/chat", "--json"]).output


def test_what_is_refused(gateway: Gateway) -> None:
    """No model, odd hours, a caller's key."""
    assert gateway.admin("/admin/v1/rollouts/nobody/shadow-report").status_code == 400
    assert gateway.admin("/admin/v1/rollouts/org/chat/shadow-report?hours=0").status_code == 400
    assert gateway.admin("/admin/v1/rollouts/org/chat/shadow-report", key=KEY).status_code == 401
