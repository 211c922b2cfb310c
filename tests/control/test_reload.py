"""Reload: validate first, one swap, a bad file changes nothing, what only a restart changes stays."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from app.config import Config, ConfigError, Problem, load, redacted
from app.control.reload import Reloader, ReloadResult
from app.table import State, build
from app.tasks import TaskGroup
from tests.support.configs import ENVIRON, messages, small

EVERY = 0.02


class House:
    """A running configuration, its file, and what was told of reloads."""

    def __init__(self, folder: Path, changes: dict[str, Any] | None = None, **options: Any) -> None:
        self.path = folder / "config.yaml"
        self.write(changes)
        running = load(self.path, ENVIRON, overrides=options.get("overrides"))
        self.state = State(build(running))
        self.told: list[ReloadResult] = []
        self._news = asyncio.Event()
        options = {"on_reload": [self.tell], "every": EVERY, **options}
        self.reloader = Reloader(self.path, self.state, running, ENVIRON, **options)

    def tell(self, result: ReloadResult) -> None:
        """What the reloader tells."""
        self.told.append(result)
        self._news.set()

    def write(self, changes: dict[str, Any] | None = None) -> None:
        """Replace the file."""
        self.put(json.dumps(small(changes)))

    def put(self, text: str) -> None:
        """Replace the file by any text, in one step as an editor does."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)

    @property
    def most(self) -> int:
        """The setting by which these tests tell tables apart."""
        return self.state.table.bounds.max_in_flight

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """With the watching task running."""
        tasks = TaskGroup("test")
        tasks.spawn("config", self.reloader.watch())
        try:
            yield
        finally:
            await tasks.aclose()

    async def until(self, count: int) -> ReloadResult:
        """Wait until so many reloads were told of; the last of them."""
        async with asyncio.timeout(10):
            while len(self.told) < count:
                self._news.clear()
                await self._news.wait()
        return self.told[count - 1]


@pytest.fixture
def house(tmp_path: Path) -> House:
    """The small configuration, running."""
    return House(tmp_path)


async def test_a_changed_file_replaces_the_table(house: House) -> None:
    """Another version, another table; the one that was read before is as it was."""
    before = house.state.table
    house.write({"server.max_in_flight": 5})
    result = await house.reloader.reload()
    assert (result.changed, result.problems, result.warnings) == (True, (), ())
    assert result.version == house.state.table.version != before.version
    assert (house.most, before.bounds.max_in_flight) == (5, 1024)
    assert house.reloader.config.server.max_in_flight == 5
    assert house.told == [result]


async def test_an_unchanged_file_keeps_the_table(house: House) -> None:
    """The very same object; other notations of the same are no change."""
    before = house.state.table
    house.write({"server.body_timeout": "1m"})
    assert await house.reloader.reload() == ReloadResult(changed=False, version=before.version)
    assert house.state.table is before


@pytest.mark.parametrize("text", ["", "a: [", "server: {prot: 1}", "\0", "deployments: []\nmodels: []"])
async def test_a_bad_file_changes_nothing(house: House, text: str) -> None:
    """Its problems are told; the next good file is taken."""
    before = house.state.table
    house.put(text)
    result = await house.reloader.reload()
    assert not result.changed
    assert result.problems
    assert result.version == before.version
    assert house.state.table is before
    house.write({"server.max_in_flight": 5})
    assert (await house.reloader.reload()).changed


async def test_what_cannot_be_made_ready_changes_nothing(house: House) -> None:
    """A file that the configuration names is not what it should be: told as any problem."""
    bad = Problem("deployments[0].tokenizer", None, "is no tokenizer")

    def prepare(wanted: Config) -> None:
        if wanted.server.max_in_flight == 4:
            raise ConfigError([bad])

    house.reloader.prepare = prepare
    before = house.state.table
    house.write({"server.max_in_flight": 4})
    result = await house.reloader.reload()
    assert (result.changed, result.problems, result.version) == (False, (bad,), before.version)
    assert house.state.table is before
    house.write({"server.max_in_flight": 5})
    assert (await house.reloader.reload()).changed


async def test_a_file_that_is_gone_changes_nothing(house: House) -> None:
    """The path is named."""
    house.path.unlink()
    result = await house.reloader.reload()
    assert "cannot be read" in result.problems[0].message
    assert house.most == 1024


async def test_what_only_a_restart_changes_keeps_its_value(house: House) -> None:
    """One warning for each such setting; the rest of the file takes effect."""
    changes = {"server.port": 1, "server.workers": 3, "server.ops": {"port": 2}, "telemetry.log": "text"}
    house.write({**changes, "stores.database": "postgresql+asyncpg://u@h/d", "server.max_in_flight": 5})
    result = await house.reloader.reload()
    assert result.changed
    assert messages(list(result.warnings)) == [
        "server.port needs a restart; `8080` stays in force",
        "server.workers needs a restart; `1` stays in force",
        "server.ops needs a restart; `null` stays in force",
        "stores.database needs a restart; `sqlite+aiosqlite:///sluicegate.db` stays in force",
        "telemetry.log needs a restart; `json` stays in force",
    ]
    server = house.reloader.config.server
    assert (server.port, server.workers, server.ops, server.max_in_flight) == (8080, 1, None, 5)
    assert house.reloader.config.telemetry.log == "json"


async def test_the_command_lines_settings_still_win(tmp_path: Path) -> None:
    """They are no reason to warn of a restart."""
    house = House(tmp_path, {"server.port": 1}, overrides={"server.port": 2})
    house.write({"server.port": 3, "server.max_in_flight": 5})
    result = await house.reloader.reload()
    assert (result.changed, result.warnings) == (True, ())
    assert house.reloader.config.server.port == 2


async def test_a_file_is_validated_with_the_address_that_is_bound(tmp_path: Path) -> None:
    """Tenants cannot be dropped because the file moves to a loopback host that only a restart would bind."""
    house = House(tmp_path, {"server.host": "0.0.0.0", "admin.key": "env:SLUICEGATE_ADMIN_KEY"})
    house.write({"server.host": "127.0.0.1", "tenants": [], "admin.key": "env:SLUICEGATE_ADMIN_KEY"})
    result = await house.reloader.reload()
    assert messages(list(result.problems)) == [
        "tenants is required, because `server.host` (0.0.0.0) can be reached from other machines"
    ]
    assert [warning.path for warning in result.warnings] == ["server.host"]
    assert house.state.table.anonymous is None


async def test_a_rotated_secret_takes_effect(tmp_path: Path) -> None:
    """The old key is nobody's from then on; the version stays, for it says nothing of secrets."""
    key = tmp_path / "key"
    key.write_text("old-secret\n")
    house = House(tmp_path, {"tenants[0].keys[0].secret": f"file:{key}"})
    version = house.state.table.version
    async with house.watched():
        key.write_text("new-secret\n")
        result = await house.until(1)
    assert (result.changed, result.version) == (True, version)
    assert house.state.table.principal(b"old-secret") is None
    assert house.state.table.principal(b"new-secret") is not None


async def test_a_changed_file_is_noticed(house: House) -> None:
    """Within a few looks, without anybody asking, and told once."""
    async with house.watched():
        house.write({"server.max_in_flight": 5})
        assert (await house.until(1)).changed
        await asyncio.sleep(5 * EVERY)
    assert house.most == 5
    assert len(house.told) == 1


async def test_a_change_before_the_first_look_is_noticed(house: House) -> None:
    """Between loading at start and watching."""
    house.write({"server.max_in_flight": 5})
    async with house.watched():
        await house.until(1)
    assert house.most == 5


async def test_a_file_that_says_the_same_is_not_told(house: House) -> None:
    """Neither at start nor when it is touched."""
    async with house.watched():
        await asyncio.sleep(5 * EVERY)
        os.utime(house.path)
        await asyncio.sleep(5 * EVERY)
    assert house.told == []


async def test_a_bad_file_is_told_once_and_watched_on(house: House) -> None:
    """Until it is mended."""
    async with house.watched():
        house.put("a: [")
        assert (await house.until(1)).problems
        await asyncio.sleep(5 * EVERY)
        assert len(house.told) == 1
        house.write({"server.max_in_flight": 5})
        assert (await house.until(2)).changed


async def test_a_missing_secret_is_taken_once_it_appears(house: House, tmp_path: Path) -> None:
    """The file did not change meanwhile; the secret's did."""
    key = tmp_path / "key"
    async with house.watched():
        house.write({"deployments[0].api_key": f"file:{key}"})
        assert [problem.path for problem in (await house.until(1)).problems] == ["deployments[0].api_key"]
        key.write_text("secret")
        assert (await house.until(2)).changed
    one = house.state.table.deployments["one"].api_key
    assert one is not None
    assert one.reveal() == "secret"


async def test_a_file_that_is_being_written_is_not_taken(house: House) -> None:
    """A shorter file can be valid: only one that holds still counts."""
    whole = json.dumps(small({"server.max_in_flight": 5}), indent=1)
    async with house.watched():
        for step in range(1, 40):
            house.path.write_text(whole[: len(whole) * step // 40] + " " * step)
            await asyncio.sleep(EVERY / 4)
        house.put(whole)
        assert (await house.until(1)).changed
    assert house.most == 5


async def test_a_signal_reloads_at_once(tmp_path: Path) -> None:
    """Without waiting for the next look; also told when nothing changed."""
    house = House(tmp_path, every=3600)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, house.reloader.ask)
    try:
        async with house.watched():
            house.write({"server.max_in_flight": 5})
            os.kill(os.getpid(), signal.SIGHUP)
            assert (await house.until(1)).changed
            os.kill(os.getpid(), signal.SIGHUP)
            assert not (await house.until(2)).changed
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)


async def test_watching_ends_when_it_is_cancelled(house: House) -> None:
    """At once, and nothing goes on behind."""
    task = asyncio.create_task(house.reloader.watch())
    await asyncio.sleep(2 * EVERY)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(task, 1)
    assert task.cancelled()


async def test_reloads_at_the_same_time_take_turns(house: House) -> None:
    """Twenty callers of the admin API: one sees the change, no table is half built."""
    house.write({"server.max_in_flight": 5})
    results = await asyncio.gather(*(house.reloader.reload() for _ in range(20)))
    assert [result.changed for result in results].count(True) == 1
    assert {result.version for result in results} == {house.state.table.version}


async def test_requests_go_on_while_a_large_file_is_read(tmp_path: Path) -> None:
    """A thousand deployments: the loop turns meanwhile, and only sees whole tables."""
    house = House(tmp_path)
    many = [{**small()["deployments"][0], "name": f"d{number}"} for number in range(1000)]
    house.write({"deployments": [*small()["deployments"], *many]})
    reload = asyncio.create_task(house.reloader.reload())
    turns = 0
    while not reload.done():
        assert len(house.state.table.deployments) in {2, 1002}
        await asyncio.sleep(0.001)
        turns += 1
    assert reload.result().changed
    assert turns > 10


async def test_what_is_shown_is_what_is_in_force(house: House) -> None:
    """The running value of what waits for a restart."""
    house.write({"server.port": 1, "server.max_in_flight": 5})
    await house.reloader.reload()
    shown = redacted(house.reloader.config)["server"]
    assert (shown["port"], shown["max_in_flight"]) == (8080, 5)
