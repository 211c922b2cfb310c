"""Feedback in a real database: about requests that the ledger knows, the last word counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from app.stores.feedback import Answered, FeedbackStore
from app.stores.notes import StoreUnavailable
from app.stores.sql import Ledger, engine
from app.stores.tables import FEEDBACK
from tests.support.databases import sqlite
from tests.support.entries import ENTRY


async def test_what_the_ledger_knows(tmp_path: Path) -> None:
    """Tenant, model, deployment and arm of a request; nothing of one that it does not know."""
    async with sqlite(tmp_path) as database:
        known = ENTRY._replace(request_id="req_1")
        await Ledger(database).insert([known])
        store = FeedbackStore(database)
        assert await store.find("req_1") == Answered(known.tenant, known.key, known.model, known.deployment, known.arm)
        assert await store.find("req_2") is None


async def test_the_last_word_counts(tmp_path: Path) -> None:
    """One row per request."""
    async with sqlite(tmp_path) as database:
        store, about = FeedbackStore(database), Answered("team", "ci", "chat", "v1", "stable")
        await store.put("req_1", about, 0.5, "so so")
        await store.put("req_1", about, 1.0, None)
        async with database.connect() as connection:
            [row] = (await connection.execute(select(FEEDBACK))).mappings().all()
        assert (row["score"], row["comment"], row["tenant"], row["arm"]) == (1.0, None, "team", "stable")


async def test_a_database_that_is_away() -> None:
    """Both methods say so."""
    gone = FeedbackStore(engine("postgresql+asyncpg://nobody@127.0.0.1:9/none"))
    with pytest.raises(StoreUnavailable):
        await gone.find("req_1")
    with pytest.raises(StoreUnavailable):
        await gone.put("req_1", Answered("", "", "", "", ""), 1.0, None)
