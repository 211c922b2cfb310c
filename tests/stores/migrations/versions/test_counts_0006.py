"""The sixth migration, there and back."""

from __future__ import annotations

from pathlib import Path

from tests.support.migrations import there_and_back


def test_it_can_be_undone(tmp_path: Path) -> None:
    """Its column is gone afterwards, the others stay."""
    for there, found in there_and_back(tmp_path, "0005", "0006"):
        columns = {column["name"] for column in found.get_columns("ledger")}
        assert ("count_method" in columns) == there
        assert "template" in columns
