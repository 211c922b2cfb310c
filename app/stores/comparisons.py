"""Comparisons with shadows: gathered here, written in batches, read for the report."""

from __future__ import annotations

import asyncio
from collections import deque
from statistics import fmean, quantiles
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from app.cells import Counter
from app.exchange import JsonObject
from app.stores.notes import StoreUnavailable
from app.stores.tables import SHADOWS
from app.stores.transactions import reading, writing

EVERY = 1.0
"""Seconds between two batches."""
WAITING_MOST = 2000
"""Rows that wait at most; one more is dropped."""
READ_MOST = 20_000
"""The latest comparisons that a report is made of at most."""
KEPT_S = 30 * 86400.0
"""Seconds after which a comparison is deleted."""
_PAIRS = ("refused", "harm", "format_ok")


class Comparisons:
    """`dropped` counts rows for which there was no room."""

    def __init__(self, database: AsyncEngine, dropped: Counter) -> None:
        self._database = database
        self._dropped = dropped
        self._waiting: deque[JsonObject] = deque()

    def add(self, row: JsonObject) -> None:
        """Have a row written, soon."""
        if len(self._waiting) >= WAITING_MOST:
            self._dropped.inc()
        else:
            self._waiting.append(row)

    async def run(self) -> None:
        """Write, again and again, until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            await self.flush()

    async def flush(self) -> None:
        """Write what there is; what the database does not take waits."""
        rows = list(self._waiting)
        if not rows:
            return
        try:
            async with writing(self._database, StoreUnavailable) as connection:
                await connection.execute(insert(SHADOWS), rows)
                await connection.execute(delete(SHADOWS).where(SHADOWS.c.at < rows[0]["at"] - KEPT_S))
        except StoreUnavailable:
            return
        for _ in rows:
            self._waiting.popleft()

    async def report(self, model: str, since: float) -> list[JsonObject]:
        """Sums over the comparisons since then, by pair of deployments. Raises StoreUnavailable."""
        wanted = select(SHADOWS).where(SHADOWS.c.model == model, SHADOWS.c.at >= since)
        async with reading(self._database, StoreUnavailable) as connection:
            latest = wanted.order_by(SHADOWS.c.number.desc()).limit(READ_MOST)
            rows = [dict(row) for row in (await connection.execute(latest)).mappings()]
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in rows:
            groups.setdefault((row["primary_deployment"], row["shadow_deployment"]), []).append(row)
        return [
            {"primary": primary, "shadow": shadow, **_sums(some)} for (primary, shadow), some in sorted(groups.items())
        ]


def _sums(rows: list[dict[str, Any]]) -> JsonObject:
    """Counts, means and quantiles; None where there is nothing to make one of."""
    both = [row for row in rows if row["primary_outcome"] == row["shadow_outcome"] == "ok"]
    document: JsonObject = {"comparisons": len(rows), "both_answered": len(both)}
    for side in ("primary", "shadow"):
        document[f"{side}_ok"] = sum(row[f"{side}_outcome"] == "ok" for row in rows)
        document[f"{side}_seconds"] = _spread([row[f"{side}_seconds"] for row in both])
        first = [row[f"{side}_first_seconds"] for row in both]
        document[f"{side}_first_seconds"] = _spread([value for value in first if value is not None])
        document[f"{side}_tokens"] = _mean([row[f"{side}_tokens"] for row in both])
        document[f"{side}_length"] = _mean([row[f"{side}_length"] for row in both])
        document[f"{side}_usd"] = sum(row[f"{side}_nano"] for row in rows) / 1e9
    for name in _PAIRS:
        # Harm is told of an answer that the guard cut off too.
        pairs = [(row[f"primary_{name}"], row[f"shadow_{name}"]) for row in (rows if name == "harm" else both)]
        known = [(bool(one), bool(other)) for one, other in pairs if one is not None and other is not None]
        document[name] = {
            "compared": len(known),
            "only_primary": sum(one and not other for one, other in known),
            "only_shadow": sum(other and not one for one, other in known),
        }
    tools = [bool(row["same_tools"]) for row in both if row["same_tools"] is not None]
    document["tools"] = {"compared": len(tools), "same": sum(tools)}
    for name in ("similarity", "meaning"):
        document[name] = _spread([row[name] for row in both if row[name] is not None])
    return document


def _mean(values: list[float]) -> float | None:
    return fmean(values) if values else None


def _spread(values: list[float]) -> JsonObject | None:
    """Mean, and the 10th, 50th and 90th percentile."""
    if not values:
        return None
    tenths = quantiles(values, n=10, method="inclusive") if len(values) > 1 else values * 9
    return {"mean": fmean(values), "p10": tenths[0], "p50": tenths[4], "p90": tenths[8]}
