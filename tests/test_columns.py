"""Tables of the command line."""

from __future__ import annotations

from app.columns import columns


def test_columns_are_as_wide_as_their_longest_cell() -> None:
    """Heads count too; values of any kind; nothing trails."""
    rows: list[dict[str, object]] = [{"a": "x", "b": 1, "more": "unseen"}, {"a": "longer", "b": None}]
    assert columns(("a", "b"), rows) == "a       b\nx       1\nlonger  None"


def test_a_table_without_rows_is_its_head() -> None:
    """And no error."""
    assert columns(("one", "two"), []) == "one  two"
