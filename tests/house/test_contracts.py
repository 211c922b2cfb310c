"""The import contracts of pyproject.toml hold, and each of them breaks when it should."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.house.tree import ROOT

PLANTED = {
    "app/errors.py": ("import app.exchange", "Imports point down only"),
    "app/pipeline/validate.py": ("import app.pipeline.admit", "Stages do not import each other"),
    "app/pipeline/route.py": ("import random", "Decisions are pure"),
    "app/control/__init__.py": ("import app.pipeline", "Control never sees a request"),
    "app/stores/__init__.py": ("import starlette", "Only app.api knows FastAPI"),
    "app/safety/__init__.py": ("import socket", "Only app.providers opens upstream sockets"),
}
"""A fault for each contract: the file that gets one more line, the line, and how the contract's name begins."""


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says about the package `app` in a folder."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """import-linter's report on a copy of the gateway with every fault planted."""
    folder = tmp_path_factory.mktemp("planted")
    shutil.copytree(ROOT / "app", folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name, (line, _) in PLANTED.items():
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
    return lint_imports(folder).stdout


def test_the_contracts_hold() -> None:
    """Layers, stages, purity, sockets and frameworks, as docs/architecture.md tells them."""
    report = lint_imports(ROOT)
    assert report.returncode == 0, report.stdout + report.stderr


@pytest.mark.parametrize("name", [name for _, name in PLANTED.values()])
def test_each_contract_breaks(broken: str, name: str) -> None:
    """A planted import is found by the contract that is there for it."""
    verdicts = [line for line in broken.splitlines() if line.startswith(name) and line.endswith((" KEPT", " BROKEN"))]
    assert [line.rpartition(" ")[2] for line in verdicts] == ["BROKEN"]


def test_each_contract_has_its_fault() -> None:
    """A new contract comes with a line that breaks it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    planted = tuple(name for _, name in PLANTED.values())
    assert not [contract["name"] for contract in contracts if not contract["name"].startswith(planted)]
