"""Comparisons in a real database: written in batches, bounded, summed for the report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.stores import comparisons as module
from app.stores.comparisons import Comparisons
from app.stores.notes import StoreUnavailable
from app.stores.sql import engine
from app.stores.tables import SHADOWS
from app.telemetry import DROPPED
from tests.pipeline.parts import Counted
from tests.support.databases import sqlite


def row(**changes: Any) -> dict[str, Any]:
    """A comparison of two answers that are alike."""
    made: dict[str, Any] = {
        "request_id": "r", "at": time.time(), "model": "chat", "primary_deployment": "one", "primary_arm": "stable",
        "shadow_deployment": "two", "same_tools": None, "similarity": 0.5, "meaning": None,
        "primary_text": None, "shadow_text": None,
    }  # fmt: skip
    for side in ("primary", "shadow"):
        answer = {"outcome": "ok", "seconds": 1.0, "first_seconds": None, "tokens": 10, "nano": 500, "length": 40}
        looks = {"refused": False, "harm": None, "format_ok": None}
        made |= {f"{side}_{name}": value for name, value in (answer | looks).items()}
    return made | changes


async def test_a_report(tmp_path: Path) -> None:
    """Only of what both answered, but for the counts; flips by their direction; by pair of deployments."""
    async with sqlite(tmp_path) as database:
        kept = Comparisons(database, Counted().counter(DROPPED, "shadow_rows"))
        kept.add(row(shadow_refused=True, shadow_seconds=3.0, primary_format_ok=True, shadow_format_ok=False))
        kept.add(row(same_tools=True, similarity=0.9, meaning=0.8))
        kept.add(row(shadow_outcome="upstream_error", similarity=None, shadow_seconds=99.0))
        kept.add(row(shadow_deployment="three"))
        kept.add(row(model="other"))
        kept.add(row(at=time.time() - 7200))
        await kept.flush()
        three, two = await kept.report("chat", time.time() - 3600)
        assert (three["shadow"], three["comparisons"], two["shadow"]) == ("three", 1, "two")
        assert (two["comparisons"], two["both_answered"], two["primary_ok"], two["shadow_ok"]) == (3, 2, 3, 2)
        assert two["shadow_seconds"] == {"mean": 2.0, "p10": pytest.approx(1.2), "p50": 2.0, "p90": pytest.approx(2.8)}
        assert two["refused"] == {"compared": 2, "only_primary": 0, "only_shadow": 1}
        assert two["format_ok"] == {"compared": 1, "only_primary": 1, "only_shadow": 0}
        assert two["tools"] == {"compared": 1, "same": 1}
        assert two["similarity"]["mean"] == pytest.approx(0.7)
        assert two["meaning"]["p50"] == 0.8
        assert two["shadow_first_seconds"] is None
        assert two["primary_usd"] == pytest.approx(1.5e-6)
        assert await kept.report("nobody", 0.0) == []


async def test_harm_is_told_of_answers_that_were_cut_off_too(tmp_path: Path) -> None:
    """The guard stopped what the caller would have got: the shadow's answer may be the better one."""
    async with sqlite(tmp_path) as database:
        kept = Comparisons(database, Counted().counter(DROPPED, "shadow_rows"))
        kept.add(row(primary_outcome="cut_guard", primary_harm=True, shadow_harm=False))
        kept.add(row(primary_harm=False, shadow_harm=True))
        kept.add(row(primary_harm=False, shadow_outcome="upstream_error"))
        await kept.flush()
        (pair,) = await kept.report("chat", 0.0)
        assert pair["harm"] == {"compared": 2, "only_primary": 1, "only_shadow": 1}
        assert pair["both_answered"] == 1


async def test_old_ones_go(tmp_path: Path) -> None:
    """After thirty days."""
    async with sqlite(tmp_path) as database:
        kept = Comparisons(database, Counted().counter(DROPPED, "shadow_rows"))
        kept.add(row(at=time.time() - module.KEPT_S - 1))
        await kept.flush()
        kept.add(row())
        await kept.flush()
        async with database.connect() as connection:
            assert (await connection.execute(select(func.count()).select_from(SHADOWS))).scalar_one() == 1


async def test_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows wait up to a bound, then they are dropped and counted; a report says that it cannot be made."""
    monkeypatch.setattr(module, "WAITING_MOST", 3)
    telemetry = Counted()
    gone = Comparisons(
        engine("postgresql+asyncpg://nobody@127.0.0.1:9/none"), telemetry.counter(DROPPED, "shadow_rows")
    )
    for _ in range(5):
        gone.add(row())
    await gone.flush()
    assert (len(gone._waiting), telemetry.total(DROPPED, "shadow_rows")) == (3, 2)
    with pytest.raises(StoreUnavailable):
        await gone.report("chat", 0.0)
