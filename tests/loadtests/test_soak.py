"""The soak at small scale, through a real worker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtests import soak


def test_a_short_soak_agrees_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every outcome is counted as the generator knows it; no socket, no task is left."""
    file = tmp_path / "soak.json"
    code = soak.main(["--requests", "1500", "--connections", "24", "--growth-mib", "50", "--json", str(file)])
    found = json.loads(file.read_text())
    assert (code, found["faults"]) == (0, []), capsys.readouterr().out
    assert found["sent"] == 1500 == sum(found["counted"].values())
    assert found["counted"]["client_closed"] > 50
    assert all(found["kinds"].values())
    assert found["after"]["sockets"] <= found["before"]["sockets"]


def test_a_fault_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    """Memory that may not grow at all grows."""
    assert soak.main(["--requests", "200", "--connections", "8", "--growth-mib", "-100"]) == 1
    assert "FAULT: RSS grew by" in capsys.readouterr().out
