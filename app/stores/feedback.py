"""What callers say of answers, in the database: the last word on each request, beside what the ledger knows of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from app.stores.notes import StoreUnavailable
from app.stores.tables import FEEDBACK, LEDGER
from app.stores.transactions import reading, writing

_NAMES = ("tenant", "key", "model", "deployment", "arm")


@dataclass(frozen=True, slots=True)
class Answered:
    """A request of the ledger, as far as a score is about it."""

    tenant: str
    key: str
    model: str
    deployment: str
    arm: str


class FeedbackStore:
    """Both methods may raise StoreUnavailable."""

    def __init__(self, database: AsyncEngine) -> None:
        self._database = database

    async def find(self, request_id: str) -> Answered | None:
        """What the ledger knows of a request; None where it does not know it, or not yet."""
        wanted = select(*(LEDGER.c[name] for name in _NAMES)).where(LEDGER.c.request_id == request_id)
        async with reading(self._database, StoreUnavailable) as connection:
            row = (await connection.execute(wanted)).mappings().first()
        return None if row is None else Answered(**row)

    async def put(self, request_id: str, about: Answered, score: float, comment: str | None) -> None:
        """Keep a score; a later one on the same request takes the place of the earlier."""
        values: Mapping[str, Any] = {"at": time.time(), "score": score, "comment": comment}
        names = {name: getattr(about, name) for name in _NAMES}
        async with writing(self._database, StoreUnavailable) as connection:
            same = update(FEEDBACK).where(FEEDBACK.c.request_id == request_id).values(values)
            if (await connection.execute(same)).rowcount == 0:
                await connection.execute(insert(FEEDBACK).values(request_id=request_id, **names, **values))
