"""The hosts that share a Redis: known before they spend, until they have ended with nothing left behind."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.stores.delivery import Delivery, SinkUnavailable
from app.stores.directory import Directory
from app.stores.hosts import Hosts
from app.stores.spool import Spool
from app.stores.sql import Ledger, engine
from tests.support.entries import ENTRY, encoded


async def test_a_host_is_known_once_and_leaves_with_an_empty_spool(tmp_path: Path, database: AsyncEngine) -> None:
    """Several workers register one host; it stays while one of them lives; its next life has another number."""
    folder = tmp_path / "spool"
    several = [Hosts(folder, database) for _ in range(3)]
    spool = Spool(folder, "w1")
    assert [await one.register() for one in several] == [True] * 3
    [known] = await several[0].known()
    assert {one.own for one in several} == {known.id}
    assert not await several[0].leave()
    spool.open("r", *encoded(ENTRY))
    spool.end()
    assert not await several[0].leave(), "its spool is not delivered"
    await Delivery(folder, Ledger(database)).turn()
    assert await several[0].leave()
    assert (await several[0].known(), several[1].own) == ([], None)
    await several[2].register()
    assert several[2].own not in {None, known.id}


async def test_a_cut_off_registration_is_finished_under_its_number(tmp_path: Path, database: AsyncEngine) -> None:
    """The row may be there already: a second one would be waited for in vain."""
    hosts = Hosts(tmp_path, database)
    await hosts.register()
    (tmp_path / "host.id").rename(tmp_path / "host.new")
    assert hosts.own is None
    await hosts.register()
    assert [one.id for one in await hosts.known()] == [hosts.own]


@pytest.mark.parametrize("later", ["leave", "register"])
async def test_a_row_that_could_not_be_given_up_is_not_left_behind(
    tmp_path: Path, database: AsyncEngine, later: str
) -> None:
    """Whoever leaves or registers next strikes it: the other hosts would wait for it for ever."""
    hosts = Hosts(tmp_path, database)
    await hosts.register()
    first = hosts.own
    async with database.begin() as connection:
        await connection.execute(text("ALTER TABLE hosts RENAME TO away"))
    with pytest.raises(SinkUnavailable):
        await hosts.leave()
    assert hosts.own is None, "nobody may spend under it any more"
    async with database.begin() as connection:
        await connection.execute(text("ALTER TABLE away RENAME TO hosts"))
    assert [one.id for one in await hosts.known()] == [first]
    assert await getattr(hosts, later)()
    assert hosts.own != first
    assert [one.id for one in await hosts.known()] == ([] if later == "leave" else [hosts.own])
    assert not (tmp_path / "host.left").exists()


async def test_nobody_leaves_while_another_process_registers(tmp_path: Path, database: AsyncEngine) -> None:
    """It would take that one's place away."""
    hosts = Hosts(tmp_path, database)
    await hosts.register()
    with (tmp_path / "host.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert not await hosts.leave()
        assert hosts.own is not None
    assert await hosts.leave()


async def test_an_unknown_database_registers_nobody(tmp_path: Path) -> None:
    """Then nothing may be taken from budgets."""
    gone = engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    hosts = Hosts(tmp_path, gone)
    for work in (hosts.register, hosts.known):
        with pytest.raises(SinkUnavailable):
            await work()
    assert hosts.own is None
    await gone.dispose()


async def test_forgetting_is_audited_and_a_living_host_comes_back(tmp_path: Path, database: AsyncEngine) -> None:
    """An operator's word holds until the host is heard of again."""
    hosts = Hosts(tmp_path, database)
    await hosts.register()
    assert hosts.own is not None
    assert await hosts.forget("cli:me", [hosts.own, "another"]) == [hosts.own]
    assert await hosts.known() == []
    [row] = await Directory(database).audit(10)
    assert (row["who"], row["what"], row["subject"]) == ("cli:me", "host.forget", hosts.own)
    await hosts.seen()
    assert [one.id for one in await hosts.known()] == [hosts.own]
