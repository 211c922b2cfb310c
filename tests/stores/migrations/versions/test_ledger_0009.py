"""The migration that drops an index of the ledger, there and back."""

from __future__ import annotations

from pathlib import Path

from app.stores.migrations.versions import ledger_0009
from tests.support.migrations import there_and_back


def test_it_can_be_undone(tmp_path: Path) -> None:
    """The index is there again afterwards, that of times always is."""
    for there, found in there_and_back(tmp_path, ledger_0009.down_revision, ledger_0009.revision):
        names = {index["name"] for index in found.get_indexes("ledger")}
        assert ("ledger_tenant_at" in names) == (not there)
        assert "ledger_at" in names
