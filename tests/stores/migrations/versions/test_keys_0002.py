"""The second migration, there and back."""

from __future__ import annotations

from pathlib import Path

from tests.support.migrations import there_and_back


def test_it_can_be_undone(tmp_path: Path) -> None:
    """Its tables are gone afterwards, the ledger stays."""
    for there, found in there_and_back(tmp_path, "0001", "0002"):
        added = set(found.get_table_names()) - {"alembic_version", "ledger", "usage_daily"}
        assert added == ({"tenants", "keys", "audit"} if there else set())
