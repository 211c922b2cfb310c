"""Stored keys as requests find them: beside the file's, watched, kept through an outage."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config.service import Stores
from app.control.keys import StoredKeys
from app.exchange import Principal
from app.stores import directory as directories
from app.stores.directory import Directory
from app.stores.migrate import upgrade
from app.stores.sql import engine
from app.stores.tables import AUDIT, KEYS, TENANTS
from app.table import Table, build
from app.tasks import TaskGroup
from tests.support.configs import ENVIRON, loaded
from tests.support.waiting import until


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """A file with the tables."""
    made = engine(f"sqlite+aiosqlite:///{tmp_path / 'ledger.db'}")
    await upgrade(made)
    yield made
    await made.dispose()


class House:
    """A directory that is changed, and what a process makes of it."""

    def __init__(self, database: AsyncEngine, workers: int = 1, **stores: Any) -> None:
        self.directory = Directory(database)
        self.stored = StoredKeys(self.directory, Stores(**stores), workers)

    async def key(self, tenant: str, name: str, **settings: Any) -> str:
        """Make a key."""
        return (await self.directory.create_key("ops", tenant, name, settings)).secret

    async def table(self, **changes: Any) -> Table:
        """The table of a configuration, with what is stored now."""
        await self.stored.refresh()
        return build(loaded(changes), self.stored.people)


def holder(table: Table, secret: str) -> Principal | None:
    """Whose key it is."""
    return table.principal(secret.encode())


def unlimited(table: Table) -> bool:
    """Whether nothing limits any request."""
    return table.scopes.nothing


async def test_a_key_works_and_is_revoked_within_a_second(database: AsyncEngine, tmp_path: Path) -> None:
    """Made and revoked elsewhere."""
    elsewhere = Directory(other := engine(f"sqlite+aiosqlite:///{tmp_path / 'ledger.db'}"))
    house, tasks = House(database), TaskGroup("test")
    table = await house.table()
    await house.stored.start(tasks)
    assert house.stored.known.is_set()
    made = await elsewhere.create_key("ops", "new", "k", {"models": ["chat"]})
    async with asyncio.timeout(10):
        await until(lambda: holder(table, made.secret) is not None)
    assert holder(table, made.secret) == Principal("new", "k", frozenset({"chat"}))
    await elsewhere.revoke_key("ops", made.id)
    await until(lambda: holder(table, made.secret) is None)
    await tasks.aclose()
    await other.dispose()


async def test_the_database_is_away_at_the_start(tmp_path: Path) -> None:
    """After two seconds the process goes on without it, and knows that it does not know; then it learns."""
    database = engine(f"sqlite+aiosqlite:///{tmp_path}/away/ledger.db")
    house, tasks = House(database), TaskGroup("test")
    async with asyncio.timeout(5):
        await house.stored.start(tasks)
    learnt = house.stored.known
    assert not learnt.is_set()
    (tmp_path / "away").mkdir()
    await upgrade(database)
    async with asyncio.timeout(5):
        await learnt.wait()
    await tasks.aclose()
    await database.dispose()


async def test_where_both_name_the_same_the_file_wins(database: AsyncEngine) -> None:
    """A stored key of a name or secret that the file has is left out; others of its tenant hold, on its terms."""
    house = House(database)
    same, more = await house.key("team", "ci"), await house.key("team", "more", pin=True)
    await house.directory.create_tenant("ops", "team", {"allow_shadow": True, "clamp_floor": 3})
    table = await house.table(**{"tenants[0].allow_shadow": False})
    assert holder(table, same) is None
    assert holder(table, more) == Principal("team", "more", pin=True, shadow=False)
    assert table.scopes.of("team", "more", "chat").policy.clamp_floor == 64
    taken = hashlib.sha256(ENVIRON["SLUICEGATE_CI_KEY"].encode()).digest()
    house.stored.people.keys[taken[:16]] = taken[16:], Principal("thief", "k")
    known = holder(table, ENVIRON["SLUICEGATE_CI_KEY"])
    assert known is not None
    assert known.tenant == "team"


async def test_settings_of_a_stored_tenant_hold_for_its_keys(database: AsyncEngine) -> None:
    """From the next request on after they change; a key without a tenant of its own has the usual ones."""
    house = House(database)
    secret = await house.key("new", "k")
    table = await house.table()
    assert holder(table, secret) == Principal("new", "k")
    assert unlimited(table)
    budgets = [{"window": "day", "tokens": 5}]
    await house.directory.create_tenant("ops", "new", {"allow_shadow": False, "budgets": budgets})
    await house.stored.refresh()
    assert holder(table, secret) == Principal("new", "k", shadow=False)
    assert [one.limit for one in table.scopes.of("new", "k", "chat").reserve.budgets] == [5]
    assert not unlimited(table)
    await house.directory.change_tenant("ops", "new", {})
    await house.stored.refresh()
    assert unlimited(table)
    assert table.scopes.of("new", "k", "chat").free


async def test_a_key_that_is_changed_or_rotated(database: AsyncEngine) -> None:
    """The new secret has what the old one had, which is gone; budgets come and go with the settings."""
    house = House(database)
    made = await house.directory.create_key("ops", "new", "k", {"budgets": [{"window": "day", "tokens": 5}]})
    table = await house.table()
    fresh = await house.directory.rotate_key("ops", made.id)
    await house.stored.refresh()
    assert (holder(table, made.secret), holder(table, fresh.secret)) == (None, Principal("new", "k"))
    assert [one.limit for one in table.scopes.every.budgets] == [5]
    await house.directory.change_key("ops", fresh.id, {"models": ["chat"]})
    await house.stored.refresh()
    assert holder(table, fresh.secret) == Principal("new", "k", frozenset({"chat"}))
    assert not table.scopes.every.budgets
    assert unlimited(table)


async def test_without_a_ledger_what_has_budgets_is_left_out(database: AsyncEngine) -> None:
    """Nobody could tell what was used of them after a restart; nor of a key's own."""
    house = House(database, ledger=False)
    keys = [await house.key(name, "k") for name in ("limited", "free")]
    await house.directory.create_tenant("ops", "limited", {"budgets": [{"window": "day", "tokens": 5}]})
    keys += [await house.key("partly", "none"), await house.key("partly", "own", budgets=[{"window": "day", "usd": 1}])]
    table = await house.table()
    assert [one and one.tenant for one in (holder(table, key) for key in keys)] == [None, "free", None, None]
    assert unlimited(table)


@pytest.mark.parametrize(
    ("workers", "limits", "held"), [(1, "memory", True), (2, "memory", False), (2, "redis://127.0.0.1/0", True)]
)
async def test_several_workers_without_a_shared_store_leave_out_what_is_limited(
    database: AsyncEngine, workers: int, limits: str, *, held: bool
) -> None:
    """Each would count for itself: better not let it in, and say so."""
    house = House(database, workers, limits=limits)
    limited, free = await house.key("limited", "k"), await house.key("free", "k")
    await house.directory.create_tenant("ops", "limited", {"limits": {"concurrent": 5}})
    table = await house.table()
    assert (holder(table, limited) is not None) is held
    assert holder(table, free) is not None


async def test_what_cannot_be_read_is_left_out_alone(database: AsyncEngine) -> None:
    """A later version may have written it."""
    house = House(database)
    lost, found = await house.key("lost", "k"), await house.key("found", "k")
    await house.directory.create_tenant("ops", "lost", {})
    async with database.begin() as connection:
        await connection.execute(update(TENANTS).values(settings='{"limits": {"per_second": 5}}'))
    table = await house.table()
    assert (holder(table, lost), holder(table, found)) == (None, Principal("found", "k"))
    made = await house.directory.create_key("ops", "found", "later", {})
    await house.stored.refresh()
    assert holder(table, made.secret) is not None
    await house.directory.change_key("ops", made.id, {"models": ["chat"]})
    async with database.begin() as connection:
        await connection.execute(update(KEYS).where(KEYS.c.id == made.id).values(settings='{"regions": ["eu"]}'))
    await house.stored.refresh()
    assert holder(table, made.secret) is None


async def test_many_changes_at_once_and_a_restored_database(
    database: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is read again: also where the last number is lower than before."""
    house = House(database)
    table = await house.table()
    monkeypatch.setattr(directories, "MOST_CHANGES", 3)
    keys = [await house.key("new", f"k{number}") for number in range(600)]
    await house.directory.create_tenant("ops", "new", {"limits": {"concurrent": 5}})
    await house.stored.refresh()
    assert all(holder(table, key) for key in keys)
    assert not unlimited(table)
    async with database.begin() as connection:
        await connection.execute(delete(TENANTS))
        await connection.execute(delete(AUDIT).where(AUDIT.c.number > 5))
    await house.stored.refresh()
    assert unlimited(table)
    assert holder(table, keys[0]) is not None
