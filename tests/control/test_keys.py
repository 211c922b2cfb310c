"""Stored keys in the running table: merged with the file's, watched, kept through an outage."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from app.config import Key, KeySecret, Tenant
from app.config.tenancy import Budget
from app.control.keys import StoredKeys
from app.stores.directory import Directory
from app.stores.migrate import upgrade
from app.stores.sql import engine
from app.table import State, build
from app.tasks import TaskGroup
from tests.support.configs import ENVIRON, loaded
from tests.support.waiting import until


async def test_a_key_works_and_is_revoked_within_a_second(tmp_path: Path) -> None:
    """Made and revoked elsewhere; the database may be away in between."""
    path = tmp_path / "ledger.db"
    database, elsewhere = (engine(f"sqlite+aiosqlite:///{path}") for _ in range(2))
    await upgrade(database)
    config, tasks = loaded(), TaskGroup("test")
    state = State(build(config))

    def rebuild() -> None:
        state.table = build(stored.extend(config))

    stored = StoredKeys(Directory(database), rebuild)
    await stored.start(tasks)
    assert stored.known.is_set()
    made = await Directory(elsewhere).create_key("ops", "new", "k", {"models": ["chat"]})
    async with asyncio.timeout(10):
        await until(lambda: state.table.principal(made.secret.encode()) is not None)
    principal = state.table.principal(made.secret.encode())
    assert principal is not None
    assert (principal.tenant, principal.key, principal.models) == ("new", "k", frozenset({"chat"}))
    await Directory(elsewhere).revoke_key("ops", made.id)
    await until(lambda: state.table.principal(made.secret.encode()) is None)
    await tasks.aclose()
    await database.dispose()
    await elsewhere.dispose()


def test_where_both_name_the_same_the_file_wins(tmp_path: Path) -> None:
    """A stored key of a name or a secret that the file has is left out; others of its tenant are added."""
    taken = KeySecret.of_digest(hashlib.sha256(ENVIRON["SLUICEGATE_CI_KEY"].encode()).digest())
    keys = [
        Key(name="ci", secret=KeySecret.of_digest(bytes(32))),
        Key(name="same-secret", secret=taken),
        Key(name="more", secret=KeySecret.of_digest(bytes(31) + b"1")),
    ]
    stored = StoredKeys(Directory(engine(f"sqlite+aiosqlite:///{tmp_path}/x.db")), lambda: None)
    stored._tenants = (Tenant(name="team", keys=tuple(keys)), Tenant(name="new", keys=()))
    config = loaded()
    extended = stored.extend(config)
    assert [one.name for one in extended.tenants] == ["team", "new"]
    assert [key.name for key in extended.tenants[0].keys] == ["ci", "more"]
    assert extended.tenants[0].keys[0].secret == config.tenants[0].keys[0].secret


def test_without_a_ledger_what_has_budgets_is_left_out(tmp_path: Path) -> None:
    """Nobody could tell what was used of them after a restart."""
    stored = StoredKeys(Directory(engine(f"sqlite+aiosqlite:///{tmp_path}/x.db")), lambda: None)
    budgets = (Budget(window="day", tokens=5),)
    stored._tenants = (Tenant(name="limited", budgets=budgets), Tenant(name="free"))
    config = loaded()
    off = config.model_copy(update={"stores": config.stores.model_copy(update={"ledger": False})})
    assert [one.name for one in stored.extend(off).tenants] == ["team", "free"]


def test_several_workers_without_a_shared_store_leave_out_what_is_limited(tmp_path: Path) -> None:
    """Each would count for itself: better not let it in, and say so."""
    stored = StoredKeys(Directory(engine(f"sqlite+aiosqlite:///{tmp_path}/x.db")), lambda: None)
    limited = Tenant(name="limited", budgets=(Budget(window="day", tokens=5),))
    stored._tenants = (limited, Tenant(name="free"))
    alone = loaded()
    several = alone.model_copy(update={"server": alone.server.model_copy(update={"workers": 2})})
    shared = several.model_copy(update={"stores": alone.stores.model_copy(update={"limits": "redis://127.0.0.1/0"})})
    names = [[one.name for one in stored.extend(config).tenants] for config in (alone, several, shared)]
    assert names == [["team", "limited", "free"], ["team", "free"], ["team", "limited", "free"]]
