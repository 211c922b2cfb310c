"""Style and types, checked by the tools themselves, so that one command is the whole test command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import ROOT

BIN = Path(sys.executable).parent


def complaints(*command: str) -> str:
    """What a tool of the environment says about the repository; empty when it is content."""
    result = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr if result.returncode else ""


def test_ruff_finds_nothing() -> None:
    """Every rule but those that pyproject.toml turns off with a reason."""
    found = complaints("ruff", "check", "--output-format=concise")
    assert not found, found


def test_the_code_is_formatted() -> None:
    """`make fmt` does it."""
    found = complaints("ruff", "format", "--check", "--quiet", "--diff")
    assert not found, found


@pytest.mark.timeout(300)  # without a cache it reads every dependency's types
def test_mypy_finds_nothing() -> None:
    """Strict, over the gateway, its tests and its load tests."""
    found = complaints("mypy", "--no-error-summary")
    assert not found, found
