"""The seventh migration, there and back."""

from __future__ import annotations

from pathlib import Path

from tests.support.migrations import there_and_back


def test_it_can_be_undone(tmp_path: Path) -> None:
    """Its table is gone afterwards, the others stay."""
    for there, found in there_and_back(tmp_path, "0006", "0007"):
        assert found.has_table("hosts") == there
        assert found.has_table("rollouts")
