"""Commands that work on the database of a configuration, a gateway on it or not: `keys`, `hosts`, `usage`."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from app.books import open_database
from app.columns import columns
from app.config import ConfigError, describe, load
from app.config.service import Stores
from app.exchange import JsonObject
from app.stores.delivery import SinkUnavailable
from app.stores.directory import Directory, DirectoryUnavailable, Refused
from app.stores.hosts import Hosts
from app.stores.migrate import upgrade
from app.stores.sql import DAY, Ledger
from app.stores.tables import GROUPS
from app.stores.usage import DEFAULT_BY, as_csv, as_documents

T = TypeVar("T")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_config = click.option("--config", "file", type=_FILE, required=True, help="The configuration file.")
_json = click.option("--json", "as_document", is_flag=True, help="Print JSON.")
_DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def keys() -> None:
    """Make, list and revoke callers' keys; a running gateway follows within a second."""


@keys.command()
@_config
@click.option("--tenant", required=True, help="Who pays; one of the file, or one made through the admin API.")
@click.option("--name", required=True, help="The key's name within the tenant.")
@click.option("--model", "models", multiple=True, help="A model that it may use; give it several times; none: all.")
@click.option("--budget", "budgets", multiple=True, help="What it may use: day:tokens=1000000, month:usd=50.")
@_json
def create(
    file: Path, tenant: str, name: str, models: tuple[str, ...], budgets: tuple[str, ...], *, as_document: bool
) -> None:
    """Make a key and print its secret, this once."""
    settings: dict[str, Any] = {"models": list(models)} if models else {}
    if budgets:
        settings["budgets"] = [_budget(one) for one in budgets]
    made = _with(file, lambda database: Directory(database).create_key(_who(), tenant, name, settings))
    document = {"id": made.id, "tenant": tenant, "name": name, "secret": made.secret}
    click.echo(orjson.dumps(document).decode() if as_document else f"{made.secret}\n(id {made.id}; not shown again)")


@keys.command("list")
@_config
@click.option("--tenant", help="Only this tenant's.")
@_json
def list_keys(file: Path, tenant: str | None, *, as_document: bool) -> None:
    """List the keys in the database, revoked ones too, without their secrets."""
    found = _with(file, lambda database: Directory(database).list_keys(tenant))
    if as_document:
        click.echo(orjson.dumps(found).decode())
        return
    rows = [{**one, "models": ",".join(one.get("models", ["all"])), "works": _works(one)} for one in found]
    click.echo(columns(("id", "tenant", "name", "hint", "models", "works"), rows))


@keys.command()
@_config
@click.argument("key_id")
@_json
def rotate(file: Path, key_id: str, *, as_document: bool) -> None:
    """Give the key KEY_ID a new secret and print it, this once; the old one stops working within a second."""
    made = _with(file, lambda database: Directory(database).rotate_key(_who(), key_id))
    document = {"id": made.id, "secret": made.secret}
    click.echo(orjson.dumps(document).decode() if as_document else f"{made.secret}\n(id {made.id}; not shown again)")


@keys.command()
@_config
@click.argument("key_id")
@_json
def revoke(file: Path, key_id: str, *, as_document: bool) -> None:
    """Revoke the key KEY_ID: it stops working everywhere within a second."""
    _with(file, lambda database: Directory(database).revoke_key(_who(), key_id))
    click.echo(orjson.dumps({"id": key_id, "revoked": True}).decode() if as_document else f"{key_id} is revoked")


@click.group()
def hosts() -> None:
    """The hosts that share a Redis, without whose spools lost budgets are not rebuilt."""


@hosts.command("list")
@_config
@_json
def list_hosts(file: Path, *, as_document: bool) -> None:
    """List them; each says every half minute that it lives."""
    found = [asdict(one) for one in _with(file, lambda database: Hosts(Path(), database).known())]
    if as_document:
        click.echo(orjson.dumps(found).decode())
        return
    rows = [{**one, **{name: _when(one[name]) for name in ("since", "seen")}} for one in found]
    click.echo(columns(("id", "name", "since", "seen"), rows))


@hosts.command()
@_config
@click.argument("host_id")
@_json
def forget(file: Path, host_id: str, *, as_document: bool) -> None:
    """Strike the host HOST_ID, which will not come back: what only its spool knows is not counted any more."""
    if not _with(file, lambda database: Hosts(Path(), database).forget(_who(), [host_id])):
        click.echo(f"There is no host `{host_id}`.", err=True)
        sys.exit(1)
    click.echo(orjson.dumps({"id": host_id, "forgotten": True}).decode() if as_document else f"{host_id} is forgotten")


@click.command()
@_config
@click.option("--from", "first", type=_DAY, help="First day, UTC; 30 days with the last one if left out.")
@click.option("--to", "last", type=_DAY, help="Last day, UTC; today if left out.")
@click.option("--by", default=",".join(DEFAULT_BY), show_default=True, help=f"Any of {', '.join(GROUPS)}.")
@click.option("--tenant", help="Only this tenant's.")
@click.option("--csv", "as_table", is_flag=True, help="Print CSV.")
@_json
def usage(
    file: Path,
    first: datetime | None,
    last: datetime | None,
    by: str,
    tenant: str | None,
    *,
    as_table: bool,
    as_document: bool,
) -> None:
    """Who spent what on which model, by day."""
    groups = tuple(by.split(","))
    if unknown := set(groups) - set(GROUPS):
        raise click.UsageError(f"--by does not know {', '.join(sorted(unknown))}")
    end = (last or datetime.fromtimestamp(time.time(), UTC)).replace(tzinfo=UTC)
    begin = (first or end - timedelta(days=29)).replace(tzinfo=UTC)
    where = {"tenant": tenant} if tenant else {}
    days = int(begin.timestamp() // DAY), int(end.timestamp() // DAY)
    if not _stores(file).ledger:
        click.echo("the ledger is off (`stores.ledger`): this is what was used while it was on", err=True)
    found = _with(file, lambda database: Ledger(database).usage(*days, groups, where))
    if as_table:
        click.echo(as_csv(found, groups), nl=False)
    elif as_document:
        click.echo(orjson.dumps(as_documents(found)).decode())
    else:
        names = (*groups, "requests", "input_tokens", "output_tokens", "cost_usd")
        click.echo(columns(names, as_documents(found)))


def _stores(file: Path) -> Stores:
    """What the file says of them; a file that cannot be used ends the command."""
    try:
        return load(file, os.environ).stores
    except ConfigError as error:
        click.echo(f"{file} cannot be used:\n{describe(error.problems)}", err=True)
        sys.exit(2)


def _with(file: Path, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
    """Do this with the database; what goes wrong is told, and ends the command."""
    stores = _stores(file)

    async def connected() -> T:
        database = open_database(stores)
        try:
            await upgrade(database)
            return await work(database)
        finally:
            await database.dispose()

    try:
        return asyncio.run(connected())
    except (Refused, DirectoryUnavailable, SinkUnavailable, SQLAlchemyError, OSError) as error:
        click.echo(str(error), err=True)
        sys.exit(1)


def _budget(text: str) -> JsonObject:
    """`day:tokens=1000` as the configuration would hold it."""
    window, _, allowed = text.partition(":")
    unit, _, amount = allowed.partition("=")
    try:
        return {"window": window, unit: int(amount) if unit == "tokens" else float(amount)}
    except ValueError:
        raise click.UsageError(f"--budget {text!r} is none; write day:tokens=1000000 or month:usd=50") from None


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _who() -> str:
    return f"cli:{getpass.getuser()}"


def _works(key: JsonObject) -> str:
    return "yes" if key["revoked"] is None else "no"
