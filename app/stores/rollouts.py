"""Rollouts in the database: where each is, who acts on them, what was observed, what happened.

A change is made to the version that it was decided on or not at all, in one transaction with its line in the log. What
the controller writes goes through only while it holds the lease, so of two controllers one at most is heard.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Float, bindparam, delete, func, insert, literal_column, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.exchange import JsonObject
from app.stores.glance import Glance
from app.stores.migrate import LOCK
from app.stores.notes import StoreUnavailable
from app.stores.tables import ANSWERS, AUDIT, BATCHES, EVIDENCE, FEEDBACK, LEASES, ROLLOUTS, STEPS, UNITS
from app.stores.transactions import reading, told_as, writing

LEASE = "rollouts"
LEASE_S = 3.0
"""Seconds after which another controller takes over from one that is silent."""
TAKEN_AT_ONCE = 500
"""Batches that are read at a time."""
SCORES_S = 7 * 86400.0
"""Seconds for which a score of an observed answer is waited for."""


class Changed(Exception):
    """Somebody else was faster, or acts in our place: look again."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A rollout as it stands in the database; version 0 is none yet."""

    model: str
    version: int
    document: JsonObject


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log."""

    who: str
    event: str
    before: tuple[str, float]
    after: tuple[str, float]
    reason: str
    evidence: list[JsonObject]


@dataclass(frozen=True, slots=True)
class Learned:
    """What a controller has taken in since it last wrote: all of it goes with its evidence or not at all."""

    evidence: JsonObject
    batches: Collection[int] = ()
    units: Sequence[JsonObject] = ()
    answers: Sequence[JsonObject] = ()
    scored: Collection[str] = ()
    forget: bool = False
    """The units of an earlier run are forgotten first."""


@dataclass(frozen=True, slots=True)
class Score:
    """A score, and the observed answer that it is about."""

    request_id: str
    epoch: int
    cohort: float
    unit: str
    candidate: bool
    score: float


class RolloutStore:
    """Every method may raise StoreUnavailable."""

    def __init__(self, database: AsyncEngine) -> None:
        self._database = database
        self._versions = Glance(database, f"SELECT coalesce(sum(version), 0) FROM {ROLLOUTS.name}")  # noqa: S608 -- a table's name
        self._postgres = database.dialect.name == "postgresql"
        now = "extract(epoch FROM clock_timestamp())" if self._postgres else "(julianday('now') - 2440587.5) * 86400.0"
        self._now: ColumnElement[float] = literal_column(now, Float(53))

    # --- where they are -----------------------------------------------------------------------------------

    async def version(self) -> int:
        """A number that grows with every change of any rollout."""
        with told_as(StoreUnavailable):
            return await self._versions.number()

    async def all(self) -> list[Stored]:
        """Every rollout."""
        async with reading(self._database, StoreUnavailable) as connection:
            rows = (await connection.execute(select(ROLLOUTS).order_by(ROLLOUTS.c.model))).all()
        return [Stored(row.model, row.version, orjson.loads(row.document)) for row in rows]

    async def get(self, model: str) -> Stored:
        """The rollout of a model; version 0 where there never was one."""
        async with reading(self._database, StoreUnavailable) as connection:
            row = (await connection.execute(select(ROLLOUTS).where(ROLLOUTS.c.model == model))).first()
        return Stored(model, row.version, orjson.loads(row.document)) if row is not None else Stored(model, 0, {})

    async def change(self, before: Stored, document: JsonObject, entry: Entry) -> None:
        """A person's change, with its line in the log and in the audit. Raises Changed."""
        async with writing(self._database, StoreUnavailable) as connection:
            await _replace(connection, before, document, entry)
            # As the directory does: its readers take the audit's last number for the version of everything.
            if self._postgres:
                await connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
            shown = {"state": entry.after[0], "weight": entry.after[1], "reason": entry.reason}
            was = {"state": entry.before[0], "weight": entry.before[1]}
            values = {"at": time.time(), "who": entry.who, "what": f"rollout {entry.event}", "subject": before.model}
            values |= {"before": orjson.dumps(was).decode(), "after": orjson.dumps(shown).decode()}
            await connection.execute(insert(AUDIT).values(values))

    async def log(self, model: str, limit: int) -> list[JsonObject]:
        """The latest transitions, the last one first."""
        wanted = select(STEPS).where(STEPS.c.model == model).order_by(STEPS.c.number.desc()).limit(limit)
        async with reading(self._database, StoreUnavailable) as connection:
            rows = (await connection.execute(wanted)).mappings().all()
        return [{**row, "evidence": orjson.loads(row["evidence"])} for row in rows]

    # --- the controller -----------------------------------------------------------------------------------

    async def lease(self, holder: str) -> bool:
        """Take or renew the right to act; whether this holder has it."""
        until = self._now + LEASE_S
        free = or_(LEASES.c.holder == holder, LEASES.c.until < self._now)
        wanted = update(LEASES).where(LEASES.c.name == LEASE, free).values(holder=holder, until=until)
        async with writing(self._database, StoreUnavailable) as connection:
            if (await connection.execute(wanted)).rowcount == 1:
                return True
            if (await connection.execute(select(LEASES.c.holder).where(LEASES.c.name == LEASE))).first() is not None:
                return False
            try:
                await connection.execute(insert(LEASES).values(name=LEASE, holder=holder, until=until))
            except IntegrityError:
                return False
        return True

    async def release(self, holder: str) -> None:
        """Let another one act at once."""
        async with writing(self._database, StoreUnavailable) as connection:
            await connection.execute(delete(LEASES).where(LEASES.c.name == LEASE, LEASES.c.holder == holder))

    async def decide(self, holder: str, before: Stored, document: JsonObject, entry: Entry, learned: Learned) -> None:
        """The controller's change, with everything that it was decided on. Raises Changed."""
        async with writing(self._database, StoreUnavailable) as connection:
            await self._hold(connection, holder)
            await _replace(connection, before, document, entry)
            await self._learn(connection, before.model, learned)

    async def learn(self, holder: str, model: str, learned: Learned) -> None:
        """Keep what the controller has taken in. Raises Changed where it is not the one that acts any more."""
        async with writing(self._database, StoreUnavailable) as connection:
            await self._hold(connection, holder)
            await self._learn(connection, model, learned)

    async def evidence(self, model: str) -> JsonObject | None:
        """What was kept last."""
        async with reading(self._database, StoreUnavailable) as connection:
            row = (await connection.execute(select(EVIDENCE.c.document).where(EVIDENCE.c.model == model))).first()
        return None if row is None else orjson.loads(row.document)

    async def units(self, model: str) -> list[JsonObject]:
        """The sticky units that were met."""
        async with reading(self._database, StoreUnavailable) as connection:
            rows = (await connection.execute(select(UNITS).where(UNITS.c.model == model))).mappings().all()
        return [dict(row) for row in rows]

    # --- observations -------------------------------------------------------------------------------------

    async def put(self, model: str, body: str) -> None:
        """Keep a batch of observations."""
        async with writing(self._database, StoreUnavailable) as connection:
            await connection.execute(insert(BATCHES).values(model=model, body=body))

    async def batches(self, model: str, besides: Collection[int]) -> list[tuple[int, JsonObject]]:
        """The oldest batches, but for those that were taken in already."""
        wanted = select(BATCHES.c.number, BATCHES.c.body).where(BATCHES.c.model == model).order_by(BATCHES.c.number)
        async with reading(self._database, StoreUnavailable) as connection:
            rows = (await connection.execute(wanted.limit(TAKEN_AT_ONCE + len(besides)))).all()
        return [(row.number, orjson.loads(row.body)) for row in rows if row.number not in besides]

    async def scores(self, model: str, besides: Collection[str]) -> list[Score]:
        """Scores of observed answers that were not taken in yet."""
        wanted = (
            select(ANSWERS, FEEDBACK.c.score)
            .join(FEEDBACK, FEEDBACK.c.request_id == ANSWERS.c.request_id)
            .where(ANSWERS.c.model == model)
            .order_by(FEEDBACK.c.number)
            .limit(TAKEN_AT_ONCE + len(besides))
        )
        async with reading(self._database, StoreUnavailable) as connection:
            rows = (await connection.execute(wanted)).all()
        return [
            Score(row.request_id, row.epoch, row.cohort, row.unit, row.candidate, row.score)
            for row in rows
            if row.request_id not in besides
        ]

    # --- within a transaction -----------------------------------------------------------------------------

    async def _hold(self, connection: AsyncConnection, holder: str) -> None:
        """Renew the lease; the row stays locked until the transaction ends."""
        held = LEASES.c.name == LEASE, LEASES.c.holder == holder
        done = await connection.execute(update(LEASES).where(*held).values(until=self._now + LEASE_S))
        if done.rowcount != 1:
            raise Changed("another controller acts")

    async def _learn(self, connection: AsyncConnection, model: str, learned: Learned) -> None:
        document = orjson.dumps(learned.evidence).decode()
        kept = update(EVIDENCE).where(EVIDENCE.c.model == model).values(document=document)
        if (await connection.execute(kept)).rowcount == 0:
            await connection.execute(insert(EVIDENCE).values(model=model, document=document))
        if learned.forget:
            await connection.execute(delete(UNITS).where(UNITS.c.model == model))
            await connection.execute(delete(ANSWERS).where(ANSWERS.c.model == model))
        if learned.batches:
            await connection.execute(delete(BATCHES).where(BATCHES.c.number.in_(list(learned.batches))))
        if learned.units:
            rows = [{"model": model, **unit} for unit in learned.units]
            names = [{"b_model": model, "b_unit": row["unit"]} for row in rows]
            old = delete(UNITS).where(UNITS.c.model == bindparam("b_model"), UNITS.c.unit == bindparam("b_unit"))
            await connection.execute(old, names)
            await connection.execute(insert(UNITS), rows)
        if learned.answers:
            now = time.time()
            old = delete(ANSWERS).where(ANSWERS.c.model == model, ANSWERS.c.at < now - SCORES_S)
            await connection.execute(old)
            rows = [{"model": model, "at": now, **answer} for answer in learned.answers]
            await connection.execute(insert(ANSWERS), rows)
        if learned.scored:
            await connection.execute(delete(ANSWERS).where(ANSWERS.c.request_id.in_(list(learned.scored))))


async def _replace(connection: AsyncConnection, before: Stored, document: JsonObject, entry: Entry) -> None:
    """Compare and swap on the version, and one line in the log. Raises Changed."""
    values: Mapping[str, Any] = {"version": before.version + 1, "document": orjson.dumps(document).decode()}
    if before.version:
        same = ROLLOUTS.c.model == before.model, ROLLOUTS.c.version == before.version
        if (await connection.execute(update(ROLLOUTS).where(*same).values(values))).rowcount != 1:
            raise Changed(f"the rollout of `{before.model}` has changed meanwhile")
    else:
        try:
            await connection.execute(insert(ROLLOUTS).values(model=before.model, **values))
        except IntegrityError as error:
            raise Changed(f"the rollout of `{before.model}` has changed meanwhile") from error
    await connection.execute(
        insert(STEPS).values(
            model=before.model, at=time.time(), who=entry.who, event=entry.event,
            state_before=entry.before[0], state_after=entry.after[0],
            weight_before=entry.before[1], weight_after=entry.after[1],
            reason=entry.reason, evidence=orjson.dumps(entry.evidence).decode(),
        )
    )  # fmt: skip
