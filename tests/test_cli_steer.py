"""`sluicegate rollout show|start|…` before a real gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from tests.support.gateway import ADMIN_KEY, VIEWER_KEY, Gateway, config, deployment
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """One gateway with a model that may roll."""
    url = upstream_process.url
    deployments = [deployment("v1", url, "answer-2@1"), deployment("v2", url, "answer-2@2")]
    rollout = {"steps": [{"weight": 10, "hold": 600}, 100], "gates": {"error": {}, "harm": {}}}
    models = [{"name": "echo", "stable": "v1", "candidate": "v2", "weight": 0, "rollout": rollout}]
    with Gateway(config(deployments, models)) as running:
        running.until(lambda: running.ops("/readyz").json()["checks"]["ledger"] == "ok", seconds=30)
        yield running


def run(gateway: Gateway, *arguments: str, key: str = ADMIN_KEY) -> Result:
    """The command, as from a shell."""
    environment = {"SLUICEGATE_ADMIN_KEY": key, "SLUICEGATE_ADMIN_URL": gateway.ops_url}
    return CliRunner(env=environment).invoke(main, ["rollout", *arguments])


def test_a_rollout_by_hand(gateway: Gateway, tmp_path: Path) -> None:
    """From start to promotion; what is printed says where it is, and the log who did what."""
    assert run(gateway, "start", "echo", "--reason", "a better one").output == (
        "echo: running at 10 % of v2 (stable: v1)\n"
    )
    assert run(gateway, "set-weight", "echo", "12.5").output == "echo: paused at 12.5 % of v2 (stable: v1)\n"
    assert json.loads(run(gateway, "resume", "echo", "--json").output)["state"] == "running"
    assert run(gateway, "pause", "echo").exit_code == 0
    shown = run(gateway, "show", "echo").output
    for words in ("steps: 10 %, 100 %", "step 1 held for ", "ops          start", "a better one", "10 → 12.5 %"):
        assert words in shown
    gateway.until(lambda: "harm" in run(gateway, "show", "echo").output)
    assert run(gateway, "advance", "echo").output == "echo: running at 100 % of v2 (stable: v1)\n"
    assert run(gateway, "abort", "echo").output == "echo: rolled_back at 0 % of v2 (stable: v1)\n"
    policy = tmp_path / "policy.yaml"
    policy.write_text("steps: [33, 100]\ngates: {cost: {over_usd: 0.01}}\n")
    begun = json.loads(run(gateway, "start", "echo", "--candidate", "v2", "--policy", str(policy), "--json").output)
    assert (begun["weight"], begun["run"], begun["settings"]["gates"]["cost"]["over_usd"]) == (33, 2, 0.01)
    assert run(gateway, "promote", "echo").exit_code == 0
    assert run(gateway, "show").output == f"{'echo':<24} promoted at 100 % of v2 (stable: v1)\n"
    assert json.loads(run(gateway, "show", "--json").output)["data"][0]["state"] == "promoted"


def test_what_goes_wrong_is_told(gateway: Gateway, tmp_path: Path) -> None:
    """Exit code 1 and the gateway's own words; 2 for wrong use."""
    refused = run(gateway, "pause", "nobody")
    assert (refused.exit_code, refused.stderr) == (1, "The model `nobody` has no rollout.\n")
    assert run(gateway, "pause", "echo", key=VIEWER_KEY).exit_code == 1
    assert run(gateway, "set-weight", "echo", "200").exit_code == 2
    wrong = tmp_path / "policy.yaml"
    wrong.write_text("steps: many\n")
    assert run(gateway, "start", "echo", "--policy", str(wrong)).exit_code == 2
    for url in ("http://127.0.0.1:9", "no url"):
        nobody = run(gateway, "show", "--url", url)
        assert nobody.exit_code == 1
        assert f"no gateway's operators' listener answers at {url}" in nobody.stderr
