"""The switch that keeps idle cores from halting."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loadtests import awake as module
from loadtests.awake import SWITCH, awake


def test_the_real_one_is_held_where_it_may_be() -> None:
    """As long as the block lasts; it takes root and a kernel that has it."""
    with awake() as trouble:
        assert (trouble is None) == (str(SWITCH) in _open_files()) == os.access(SWITCH, os.W_OK)
    assert str(SWITCH) not in _open_files()


def _open_files() -> set[str]:
    return {str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()}


def test_what_is_written_means_no_latency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zero microseconds, as a machine's integer of four bytes."""
    place = tmp_path / "switch"
    monkeypatch.setattr(module, "SWITCH", place)
    with awake() as trouble:
        assert trouble is None
    assert place.read_bytes() == b"\0\0\0\0"


def test_where_it_cannot_be_held_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block runs all the same."""
    monkeypatch.setattr(module, "SWITCH", tmp_path / "nothing" / "here")
    with awake() as trouble:
        assert trouble == f"{tmp_path}/nothing/here: No such file or directory"
