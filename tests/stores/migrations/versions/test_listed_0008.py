"""The migration of the order in which keys are listed, there and back."""

from __future__ import annotations

from pathlib import Path

from app.stores.migrations.versions import listed_0008
from tests.support.migrations import there_and_back


def test_it_can_be_undone(tmp_path: Path) -> None:
    """The index is gone afterwards, that of working keys stays."""
    for there, found in there_and_back(tmp_path, listed_0008.down_revision, listed_0008.revision):
        names = {index["name"] for index in found.get_indexes("keys")}
        assert ("keys_listed" in names) == there
        assert "keys_live" in names
