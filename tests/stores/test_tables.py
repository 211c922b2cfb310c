"""The tables fit what is written into them."""

from __future__ import annotations

from app.entry import NAMES
from app.stores.tables import DAILY, GROUPS, LEDGER, SUMS


def test_the_ledger_has_a_column_for_every_field() -> None:
    """And no other."""
    assert {column.name for column in LEDGER.columns} == set(NAMES)


def test_daily_usage_is_made_of_the_ledgers_fields() -> None:
    """But for the day and what is counted."""
    assert [column.name for column in DAILY.primary_key] == list(GROUPS)
    assert {column.name for column in DAILY.columns} == {*GROUPS, *SUMS}
    assert {*GROUPS, *SUMS} - set(NAMES) == {"day", "requests", "bound_requests"}
