"""`sluicegate keys` and `sluicegate usage` on a configuration's database, without a gateway."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.stores.hosts import Hosts
from app.stores.migrate import upgrade
from app.stores.sql import engine
from tests.support.configs import ENVIRON, small


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A configuration with a database of its own."""
    path = tmp_path / "config.yaml"
    stores = {"database": f"sqlite+aiosqlite:///{tmp_path}/ledger.db", "spool": str(tmp_path / "spool")}
    path.write_text(json.dumps({**small(), "stores": stores}))
    return str(path)


def run(*arguments: str) -> Result:
    """The command, as from a shell."""
    return CliRunner(env=ENVIRON).invoke(main, arguments)


def test_keys_are_made_listed_and_revoked(config: str) -> None:
    """As tables and as JSON."""
    made = json.loads(run("keys", "create", "--config", config, "--tenant", "t", "--name", "k", "--json").output)
    assert made["secret"].startswith("sk-sg-")
    listed = run("keys", "list", "--config", config).output
    assert made["id"] in listed
    assert made["secret"] not in listed
    assert run("keys", "revoke", "--config", config, made["id"]).exit_code == 0
    [shown] = json.loads(run("keys", "list", "--config", config, "--json").output)
    assert shown["revoked"] is not None
    again = run("keys", "revoke", "--config", config, made["id"])
    assert (again.exit_code, again.stderr) == (1, f"There is no key `{made['id']}` that works.\n")


def test_a_key_with_budgets_and_a_new_secret(config: str) -> None:
    """Budgets in short form; a wrong one is told; rotating keeps what the key may do."""
    create = ("keys", "create", "--config", config, "--tenant", "t", "--name", "k", "--json")
    for wrong in ("day", "day:tokens=many", "year:tokens=5", "day:euros=5"):
        assert run(*create, "--budget", wrong).exit_code in {1, 2}
    made = json.loads(run(*create, "--budget", "day:tokens=1000", "--budget", "month:usd=2.5").output)
    fresh = json.loads(run("keys", "rotate", "--config", config, made["id"], "--json").output)
    assert fresh["secret"] != made["secret"]
    old, new = json.loads(run("keys", "list", "--config", config, "--json").output)
    assert (old["revoked"] is None, new["revoked"]) == (False, None)
    assert new["budgets"] == [{"window": "day", "tokens": 1000}, {"window": "month", "usd": 2.5}]
    shown = run("keys", "rotate", "--config", config, new["id"]).output
    assert shown.startswith("sk-sg-")


def test_usage_of_an_empty_ledger_is_empty(config: str) -> None:
    """In every form."""
    assert run("usage", "--config", config).output.split() == [
        *("day", "tenant", "key", "model", "requests", "input_tokens", "output_tokens", "cost_usd")
    ]
    assert json.loads(run("usage", "--config", config, "--json").output) == []
    assert run("usage", "--config", config, "--csv", "--by", "model").output.startswith("model,requests")
    assert run("usage", "--config", config, "--by", "colour").exit_code == 2


def test_a_configuration_that_is_wrong_is_told(tmp_path: Path) -> None:
    """Exit code 2."""
    path = tmp_path / "config.yaml"
    path.write_text("models: 7")
    assert run("usage", "--config", str(path)).exit_code == 2


def test_hosts_are_listed_and_forgotten(config: str, tmp_path: Path) -> None:
    """By their numbers; the change is in the audit log; one that is not there is told."""

    async def register() -> None:
        database = engine(f"sqlite+aiosqlite:///{tmp_path}/ledger.db")
        await upgrade(database)
        assert await Hosts(tmp_path / "spool", database).register()
        await database.dispose()

    asyncio.run(register())
    [one] = json.loads(run("hosts", "list", "--config", config, "--json").output)
    assert one["id"] in run("hosts", "list", "--config", config).output
    assert run("hosts", "forget", "--config", config, one["id"]).output == f"{one['id']} is forgotten\n"
    again = run("hosts", "forget", "--config", config, one["id"])
    assert (again.exit_code, again.stderr) == (1, f"There is no host `{one['id']}`.\n")
    assert json.loads(run("hosts", "list", "--config", config, "--json").output) == []
