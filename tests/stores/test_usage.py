"""The usage report as documents and as CSV."""

from __future__ import annotations

from app.stores.sql import Usage
from app.stores.tables import SUMS
from app.stores.usage import as_csv, as_documents, usd

LINE = Usage({"day": 20_780, "model": "chat"}, dict.fromkeys(SUMS, 2) | {"charged_nano": 1_234_567_890_123_456_789})


def test_money_is_exact_in_both_forms() -> None:
    """As a number and as decimal text."""
    [found] = as_documents([LINE])
    assert found["cost_nano_usd"] == 1_234_567_890_123_456_789
    assert found["cost_usd"] == usd(found["cost_nano_usd"]) == "1234567890.123456789"
    assert found["day"] == "2026-11-23"


def test_csv_has_a_head_and_a_line_each() -> None:
    """In the order of what it is told apart by."""
    head, line = as_csv([LINE], ("day", "model")).splitlines()
    assert head.startswith("day,model,requests,bound_requests,tokens,cost_nano_usd")
    assert line.startswith("2026-11-23,chat,2,2,2,1234567890123456789")
    assert line.endswith(",1234567890.123456789")
