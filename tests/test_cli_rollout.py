"""`sluicegate rollout simulate`: its keys are a contract, its answers are those of the code that decides live."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from app.cli import main

TRIAL = ["--stable-rate", "0.01", "--candidate-rate", "0.2", "--max-requests", "4000", "--runs", "20", "--seed", "1"]
KEYS = {"runs", "rollbacks", "median_requests_to_rollback", "p90_requests_to_rollback", "median_candidate_requests"}
POLICY = "rollout: {steps: [{weight: 5, hold: 1m, min_requests: 20}, 50, 100], gates: {error: {}, harm: {}}}"


def simulate(*arguments: str) -> dict[str, Any]:
    """What the command prints as JSON."""
    result = CliRunner().invoke(main, ["rollout", "simulate", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = orjson.loads(result.output)
    return document


def test_the_contract() -> None:
    """A far worse candidate is rolled back in every run, early; the same seed gives the same answer."""
    found = simulate(*TRIAL)
    assert set(found) >= KEYS
    assert found["runs"] == found["rollbacks"] == 20
    assert 0 < found["median_requests_to_rollback"] <= found["p90_requests_to_rollback"] < 4000
    assert simulate(*TRIAL) == found


def test_alike_arms_are_left_alone() -> None:
    """Two arms that are alike are rolled back in at most a few runs, and what never happened is null."""
    found = simulate("--stable-rate", "0.05", "--candidate-rate", "0.05", "--max-requests", "4000", "--runs", "20")
    assert found["rollbacks"] <= 3
    assert found["median_requests_to_rollback"] is None


@pytest.mark.parametrize("text", [POLICY, POLICY.removeprefix("rollout: ")], ids=["named", "bare"])
def test_a_policy(tmp_path: Path, text: str) -> None:
    """A whole rollout: a good candidate is promoted."""
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    arguments = ("--stable-rate", "0.01", "--candidate-rate", "0.01", "--rps", "20", "--runs", "5")
    found = simulate(*arguments, "--policy", str(file))
    assert set(found) >= KEYS | {"promoted"}
    assert found["promoted"] + found["rollbacks"] + found["paused"] == 5
    assert found["promoted"] >= 4


def test_for_people() -> None:
    """Without `--json` every figure has a line."""
    result = CliRunner().invoke(main, ["rollout", "simulate", *TRIAL])
    assert result.exit_code == 0
    assert "median requests to rollback" in result.output


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rollout: {steps: [{weight: 200}]}", "rollout.steps[0].weight"),
        ("{steps: [5], gate: 1}", "gate"),
        ("{steps: [50, 5]}", "rise"),
        ("5", "section"),
    ],
)
def test_a_bad_policy(tmp_path: Path, text: str, named: str) -> None:
    """Exit code 2, and the place in the file."""
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    arguments = ["rollout", "simulate", "--stable-rate", "0", "--candidate-rate", "0", "--policy", str(file)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert named in result.output


@pytest.mark.parametrize("option", ["--stable-rate=2", "--weight=0", "--alpha=1", "--runs=0", "--rps=0"])
def test_wrong_use(option: str) -> None:
    """Values that mean nothing are refused with exit code 2."""
    assert CliRunner().invoke(main, ["rollout", "simulate", *TRIAL, option]).exit_code == 2
