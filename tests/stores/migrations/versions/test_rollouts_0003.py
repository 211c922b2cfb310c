"""The third migration, there and back."""

from __future__ import annotations

from pathlib import Path

from tests.support.migrations import there_and_back

TABLES = {
    "rollouts", "rollout_evidence", "rollout_units", "rollout_batches", "rollout_log", "rollout_answers", "leases",
    "feedback",
}  # fmt: skip
BEFORE = {"alembic_version", "ledger", "usage_daily", "tenants", "keys", "audit"}


def test_it_can_be_undone(tmp_path: Path) -> None:
    """Its tables are gone afterwards, the others stay."""
    for there, found in there_and_back(tmp_path, "0002", "0003"):
        assert set(found.get_table_names()) == (BEFORE | TABLES if there else BEFORE)
