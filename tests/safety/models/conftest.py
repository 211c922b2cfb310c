"""An environment with the `safety` extra, for slow tests: made once by the command that the README names."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house.tree import ROOT

Run = Callable[[str], str]


@pytest.fixture(scope="session")
def with_extra(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs Python code where the extra is installed and returns what it prints."""
    folder = tmp_path_factory.mktemp("extra") / "checkout"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "spool"))
    environment = {"SLUICEGATE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    shell(["make", "setup-safety"], folder, environment)

    def run(code: str) -> str:
        return shell([str(folder / ".venv/bin/python"), "-c", code], folder, environment)

    return run


def shell(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Run a command there; what it printed."""
    done = subprocess.run(
        ["env", *(f"{name}={value}" for name, value in environment.items()), *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
