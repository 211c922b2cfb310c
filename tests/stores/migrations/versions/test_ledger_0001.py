"""The first migration, there and back."""

from __future__ import annotations

from pathlib import Path

from tests.support.migrations import there_and_back


def test_it_can_be_undone(tmp_path: Path) -> None:
    """Its tables are gone afterwards."""
    for there, found in there_and_back(tmp_path, "base", "0001"):
        assert set(found.get_table_names()) - {"alembic_version"} == ({"ledger", "usage_daily"} if there else set())
