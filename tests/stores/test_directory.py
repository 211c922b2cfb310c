"""Stored tenants and keys in real databases; the audit of every change."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from app.exchange import JsonObject
from app.people import People
from app.stores.directory import Directory, DirectoryUnavailable, Refused
from app.stores.sql import engine
from app.stores.tables import KEYS


async def test_a_secret_is_kept_as_a_digest_only(database: AsyncEngine) -> None:
    """And is shown once."""
    made = await Directory(database).create_key("ops", "team", "k", {"models": ["chat"]})
    async with database.connect() as connection:
        row = (await connection.execute(select(KEYS))).mappings().one()
    assert row["digest"] == hashlib.sha256(made.secret.encode()).hexdigest()
    assert made.secret not in str(dict(row))
    [shown] = await Directory(database).list_keys()
    assert "digest" not in shown
    assert shown["models"] == ["chat"]


async def test_people_come_back_as_they_were_made(database: AsyncEngine) -> None:
    """Settings, budgets and keys; revoked keys are gone, and a tenant of the file may have stored keys."""
    directory = Directory(database)
    await directory.create_tenant("ops", "new", {"clamp_floor": 9, "budgets": [{"window": "day", "tokens": 5}]})
    one = await directory.create_key("ops", "new", "one", {"budgets": [{"window": "day", "usd": 1.5}]})
    gone = await directory.create_key("ops", "of-the-file", "two", {})
    fresh = await directory.rotate_key("ops", gone.id)
    whole, changed = People(), People()
    await directory.everything(whole)
    assert await directory.changes(0, changed)
    for people in (whole, changed):
        settings = people.settings("new")
        assert settings is not None
        assert (settings.clamp_floor, settings.budgets[0].tokens) == (9, 5)
        digests = [hashlib.sha256(key.secret.encode()).digest() for key in (one, fresh)]
        assert {half: rest for half, (rest, _) in people.keys.items()} == {one[:16]: one[16:] for one in digests}
        assert {holder.key for _, holder in people.keys.values()} == {"one", "two"}
        assert people.budgets("new", "one")[0].usd == 1.5
    assert await directory.changes(await directory.version(), changed)


async def test_every_change_is_audited(database: AsyncEngine) -> None:
    """Who, what, to what, before and after; a refused one leaves no trace."""
    directory = Directory(database)
    await directory.create_tenant("ann", "new", {})
    made = await directory.create_key("ben", "new", "k", {})
    await directory.revoke_key("ann", made.id)
    with pytest.raises(Refused):
        await directory.revoke_key("ann", made.id)
    found = await directory.audit(10)
    assert [(one["who"], one["what"], one["subject"]) for one in found] == [
        ("ann", "revoke key", "new/k"),
        ("ben", "create key", "new/k"),
        ("ann", "create tenant", "new"),
    ]
    assert found[0]["before"]["id"] == made.id
    assert found[0]["after"] is None
    assert await directory.version() == found[0]["number"]
    assert await directory.audit(10, before=found[1]["number"]) == found[2:]
    assert made.secret not in str(found)


async def test_lists_are_read_page_by_page(database: AsyncEngine) -> None:
    """Each entry once, in order, across tenants and for one; whoever goes on after nothing is told so."""
    directory = Directory(database)
    for tenant in ("b", "a", "c"):
        await directory.create_tenant("ops", tenant, {})
        for name in ("y", "x"):
            await directory.create_key("ops", tenant, name, {})
    [first, *_] = await directory.list_keys("a")
    await directory.rotate_key("ops", first["id"])  # two of one name now
    everything = await directory.list_keys()
    assert [one["tenant"] + one["name"] for one in everything] == ["ax", "ax", "ay", "bx", "by", "cx", "cy"]
    for size in (1, 2, 3, 7):
        found: list[JsonObject] = []
        while part := await directory.list_keys(limit=size, after=found[-1]["id"] if found else None):
            found += part
        assert found == everything
    assert await directory.list_keys("a", 2, everything[0]["id"]) == everything[1:3]
    assert await directory.list_keys("a", 9, everything[4]["id"]) == []
    assert [one["name"] for one in await directory.list_tenants(2)] == ["a", "b"]
    assert [one["name"] for one in await directory.list_tenants(2, "b")] == ["c"]
    with pytest.raises(Refused, match="no key `key_x` to go on after"):
        await directory.list_keys(after="key_x")


@pytest.mark.parametrize("settings", [{"nonsense": 1}, {"models": []}, {"budgets": [{"window": "year"}]}])
async def test_wrong_settings_are_refused(database: AsyncEngine, settings: dict[str, object]) -> None:
    """As in the configuration."""
    with pytest.raises(Refused):
        await Directory(database).create_key("ops", "team", "k", settings)
    assert await Directory(database).list_keys() == []


async def test_one_name_has_one_key_that_works(database: AsyncEngine) -> None:
    """However many ask at once; once it is revoked, the name is free again."""
    directory = Directory(database)
    results = await asyncio.gather(
        *(directory.create_key("ops", "team", "k", {}) for _ in range(4)), return_exceptions=True
    )
    [made] = [one for one in results if not isinstance(one, BaseException)]
    assert all(isinstance(one, Refused) for one in results if one is not made)
    await directory.revoke_key("ops", made.id)
    await directory.create_key("ops", "team", "k", {})


async def test_a_database_that_is_away_is_told_as_such(tmp_path: Path) -> None:
    """Not as a bug."""
    database = engine(f"sqlite+aiosqlite:///{tmp_path}/nowhere/ledger.db")
    with pytest.raises(DirectoryUnavailable):
        await Directory(database).version()
    await database.dispose()


async def test_settings_are_replaced(database: AsyncEngine) -> None:
    """Of a tenant, and of a key, whose secret stays; before and after stand in the audit."""
    directory = Directory(database)
    await directory.create_tenant("ops", "new", {"clamp_floor": 9})
    made = await directory.create_key("ops", "new", "k", {"models": ["chat"]})
    await directory.change_tenant("ann", "new", {"budgets": [{"window": "day", "tokens": 7}]})
    changed = await directory.change_key("ann", made.id, {"budgets": [{"window": "day", "tokens": 5}]})
    assert "models" not in changed
    await directory.everything(people := People())
    settings = people.settings("new")
    assert settings is not None
    assert (settings.clamp_floor, settings.budgets[0].tokens) == (64, 7)
    [(half, (rest, holder))] = people.keys.items()
    assert (holder.models, people.budgets("new", "k")[0].tokens) == (None, 5)
    assert half + rest == hashlib.sha256(made.secret.encode()).digest()
    key_change, tenant_change = await directory.audit(2)
    assert (tenant_change["before"]["clamp_floor"], "clamp_floor" in tenant_change["after"]) == (9, False)
    assert (key_change["before"]["models"], key_change["what"]) == (["chat"], "change key")
    for wrong in (
        directory.change_tenant("ann", "nobody", {}),
        directory.change_tenant("ann", "new", {"nonsense": 1}),
        directory.change_key("ann", "key_nobody", {}),
        directory.change_key("ann", made.id, {"models": []}),
    ):
        with pytest.raises(Refused):
            await wrong
