"""The migration of meanings and texts, there and back."""

from __future__ import annotations

from pathlib import Path

from app.stores.migrations.versions import meaning_0005
from tests.support.migrations import there_and_back


def test_it_can_be_undone(tmp_path: Path) -> None:
    """Its columns are gone afterwards, the table stays."""
    own = {"meaning", "primary_text", "shadow_text"}
    for there, found in there_and_back(tmp_path, meaning_0005.down_revision, meaning_0005.revision):
        columns = {column["name"] for column in found.get_columns("shadow_comparisons")}
        assert columns & own == (own if there else set())
        assert "similarity" in columns
