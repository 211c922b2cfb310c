"""A grown worker beside a small one, briefly, through real workers."""

from __future__ import annotations

import re

import pytest

from app.entry import NAMES
from loadtests import growth


def test_rows_have_every_column() -> None:
    """Ids differ, and every tenant and key has its share."""
    size = growth.Size(tenants=2, keys=4, models=1, rows=8)
    rows = list(growth.ledger_rows(size))
    assert {len(row) for row in rows} == {len(NAMES)}
    assert len({row[NAMES.index("request_id")] for row in rows}) == 8
    assert [row[NAMES.index("key")] for row in rows[:5]] == ["key-0", "key-1", "key-2", "key-3", "key-0"]
    assert {row[1] for row in growth.key_rows(size)} == {"tenant-0", "tenant-1"}


@pytest.mark.timeout(120)
def test_all_serve_and_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    """Every answer is right, of every key and model; keys that are made meanwhile work."""
    sizes = ["--tenants", "20", "--keys", "2000", "--models", "12", "--rows", "5000"]
    assert growth.main([*sizes, "--requests", "300", "--rounds", "2", "--made", "2"]) == 0
    text = capsys.readouterr().out
    assert "20 tenants, 2000 keys, 12 models, 5000 rows" in text
    assert re.search(r"asked for to small: \d", text)
    assert re.search(r"grown to asked for: \d", text)
    assert text.count("a new key was made") == 3
