"""Tenants and keys that were made through the admin API, and the audit of every change to them.

A change and its audit row are one transaction, so the audit's last number tells whether anything has changed. Of a
secret only the SHA-256 digest is kept: it is 256 random bits, so nothing slower is needed against guessing.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from secrets import token_hex, token_urlsafe
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError
from sqlalchemy import Row, func, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.config import Key, KeySecret, Tenant
from app.config.tenancy import Budget
from app.exchange import JsonObject, Principal
from app.people import People, StoredKey
from app.stores.glance import Glance
from app.stores.migrate import LOCK
from app.stores.tables import AUDIT, KEYS, TENANTS
from app.stores.transactions import reading, told_as, writing

PREFIX = "sk-sg-"
MOST_CHANGES = 5000
"""Changes that are read one by one; behind more of them everything is read again."""
_PART = 250
_TENANTS = select(TENANTS.c.name, TENANTS.c.settings)
_KEYS = select(KEYS.c.tenant, KEYS.c.name, KEYS.c.digest, KEYS.c.settings, KEYS.c.revoked)
_log = logging.getLogger("sluicegate")
T = TypeVar("T", Key, Tenant)
_HINT = len(PREFIX) + 4


class DirectoryUnavailable(Exception):
    """The database does not answer."""


class Refused(Exception):
    """A change that cannot be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A key as it was just made: the only time that its secret is shown."""

    id: str
    secret: str


class Directory:
    """Reads and changes them. `who` is the operator; every method may raise DirectoryUnavailable."""

    def __init__(self, database: AsyncEngine) -> None:
        self._database = database
        self._last = Glance(database, f"SELECT coalesce(max(number), 0) FROM {AUDIT.name}")  # noqa: S608 -- a table's name

    async def version(self) -> int:
        """A number that grows with every change."""
        with told_as(DirectoryUnavailable):
            return await self._last.number()

    async def everything(self, into: People) -> None:
        """Put every tenant and every key that works into `into`, some hundreds in a turn of the event loop."""
        async with reading(self._database, DirectoryUnavailable) as connection:
            async with connection.stream(_TENANTS) as tenants:
                async for some in tenants.partitions(_PART):
                    _put_tenants(into, some)
            async with connection.stream(_KEYS.where(KEYS.c.revoked.is_(None))) as keys:
                async for several in keys.partitions(_PART):
                    into.put_keys(_keys(several))

    async def changes(self, since: int, into: People) -> bool:
        """Put what has changed behind this number into `into`. False, and nothing was put, where that is too much."""
        async with reading(self._database, DirectoryUnavailable) as connection:
            wanted = select(AUDIT.c.what, AUDIT.c.subject, AUDIT.c.before, AUDIT.c.after)
            changed = (await connection.execute(wanted.where(AUDIT.c.number > since).limit(MOST_CHANGES + 1))).all()
            if len(changed) > MOST_CHANGES:
                return False
            names = {row.subject for row in changed if row.what.endswith(" tenant")}
            documents = [text for row in changed if row.what.endswith(" key") for text in (row.before, row.after)]
            ids = {_parsed(text)["id"] for text in documents if text is not None}
            tenants = (await connection.execute(_TENANTS.where(TENANTS.c.name.in_(names)))).all() if names else []
            keys = (await connection.execute(_KEYS.where(KEYS.c.id.in_(ids)))).all() if ids else []
        _put_tenants(into, tenants)
        into.put_keys(_keys(keys))
        return True

    async def list_tenants(self, limit: int | None = None, after: str = "") -> list[JsonObject]:
        """The stored tenants by name, as documents: at most `limit` of those behind the name `after`."""
        wanted = select(TENANTS).where(TENANTS.c.name > after).order_by(TENANTS.c.name).limit(limit)
        async with reading(self._database, DirectoryUnavailable) as connection:
            found = (await connection.execute(wanted)).all()
        return [{"name": row.name, "created": row.created, **orjson.loads(row.settings)} for row in found]

    async def list_keys(
        self, tenant: str | None = None, limit: int | None = None, after: str | None = None
    ) -> list[JsonObject]:
        """The stored keys by tenant, name and age, as documents without digests; revoked ones too.

        At most `limit` of those behind the key with the id `after`. Raises Refused where there is no such key.
        """
        order = tuple_(KEYS.c.tenant, KEYS.c.name, KEYS.c.created, KEYS.c.id)
        wanted = select(KEYS).order_by(*order).limit(limit)
        if tenant is not None:
            wanted = wanted.where(KEYS.c.tenant == tenant)
        async with reading(self._database, DirectoryUnavailable) as connection:
            if after is not None:
                last = (await connection.execute(select(*order).where(KEYS.c.id == after))).first()
                if last is None:
                    raise Refused(f"There is no key `{after[:64]}` to go on after.")
                wanted = wanted.where(order > tuple_(*last))
            found = (await connection.execute(wanted)).all()
        return [_shown(row) for row in found]

    async def audit(self, limit: int, before: int | None = None) -> list[JsonObject]:
        """The latest changes first; those with a number below `before`."""
        wanted = select(AUDIT).order_by(AUDIT.c.number.desc()).limit(limit)
        async with reading(self._database, DirectoryUnavailable) as connection:
            rows = await connection.execute(wanted if before is None else wanted.where(AUDIT.c.number < before))
            found = rows.mappings().all()
        return [{**row, "before": _parsed(row["before"]), "after": _parsed(row["after"])} for row in found]

    async def create_tenant(self, who: str, name: str, settings: Mapping[str, Any]) -> JsonObject:
        """Make a tenant. Raises Refused: it exists, or its settings are wrong."""
        _tenant(name, settings)
        document = {"name": name, **settings}
        async with self._changing(who, "create tenant", name, None, document) as connection:
            values = {"name": name, "settings": orjson.dumps(dict(settings)).decode(), "created": time.time()}
            await connection.execute(insert(TENANTS).values(values))
        return document

    async def change_tenant(self, who: str, name: str, settings: Mapping[str, Any]) -> JsonObject:
        """Replace a tenant's settings. Raises Refused: there is none of that name, or the settings are wrong."""
        _tenant(name, settings)
        async with reading(self._database, DirectoryUnavailable) as connection:
            row = (await connection.execute(select(TENANTS).where(TENANTS.c.name == name))).first()
        if row is None:
            raise Refused(f"There is no tenant `{name[:64]}` that was made here.")
        before, after = {"name": name, **orjson.loads(row.settings)}, {"name": name, **settings}
        async with self._changing(who, "change tenant", name, before, after) as connection:
            values = {"settings": orjson.dumps(dict(settings)).decode()}
            await connection.execute(update(TENANTS).where(TENANTS.c.name == name).values(values))
        return after

    async def change_key(self, who: str, key_id: str, settings: Mapping[str, Any]) -> JsonObject:
        """Replace a key's settings; its secret stays. Raises Refused."""
        row = await self._live(key_id)
        _key(row.name, settings)
        after = {**_shown(row), "models": None, "budgets": None} | dict(settings)
        after = {name: value for name, value in after.items() if value is not None or name == "revoked"}
        async with self._changing(who, "change key", f"{row.tenant}/{row.name}", _shown(row), after) as connection:
            values = {"settings": orjson.dumps(dict(settings)).decode()}
            wanted = update(KEYS).where(KEYS.c.id == key_id, KEYS.c.revoked.is_(None)).values(values)
            if (await connection.execute(wanted)).rowcount != 1:
                raise Refused(f"There is no key `{key_id[:64]}` that works.")
        return after

    async def create_key(self, who: str, tenant: str, name: str, settings: Mapping[str, Any]) -> Issued:
        """Make a key. Raises Refused: the tenant has a key of that name, or the settings are wrong."""
        _key(name, settings)
        issued = Issued(f"key_{token_hex(8)}", PREFIX + token_urlsafe(32))
        document = {"id": issued.id, "tenant": tenant, "name": name, **settings}
        async with self._changing(who, "create key", f"{tenant}/{name}", None, document) as connection:
            await _insert_key(connection, issued, tenant, name, orjson.dumps(dict(settings)).decode())
        return issued

    async def rotate_key(self, who: str, key_id: str) -> Issued:
        """A new secret in the place of the old one, which stops working. Raises Refused."""
        row = await self._live(key_id)
        issued = Issued(f"key_{token_hex(8)}", PREFIX + token_urlsafe(32))
        subject = f"{row.tenant}/{row.name}"
        async with self._changing(who, "rotate key", subject, {"id": key_id}, {"id": issued.id}) as connection:
            await _revoke(connection, key_id)
            await _insert_key(connection, issued, row.tenant, row.name, row.settings)
        return issued

    async def revoke_key(self, who: str, key_id: str) -> None:
        """The key stops working. Raises Refused where there is no such key, or it was revoked before."""
        row = await self._live(key_id)
        async with self._changing(who, "revoke key", f"{row.tenant}/{row.name}", _shown(row), None) as connection:
            await _revoke(connection, key_id)

    async def _live(self, key_id: str) -> Row[Any]:
        async with reading(self._database, DirectoryUnavailable) as connection:
            row = (await connection.execute(select(KEYS).where(KEYS.c.id == key_id, KEYS.c.revoked.is_(None)))).first()
        if row is None:
            raise Refused(f"There is no key `{key_id[:64]}` that works.")
        return row

    @asynccontextmanager
    async def _changing(
        self, who: str, what: str, subject: str, before: object, after: object
    ) -> AsyncIterator[AsyncConnection]:
        """A transaction that ends with its audit row."""
        row = {"at": time.time(), "who": who, "what": what, "subject": subject}
        row |= {"before": before and orjson.dumps(before).decode(), "after": after and orjson.dumps(after).decode()}
        try:
            async with writing(self._database, DirectoryUnavailable) as connection:
                # Changes stand in line, so that their numbers appear in order: who has seen one has seen those before.
                if connection.dialect.name == "postgresql":
                    await connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
                await connection.execute(insert(AUDIT).values(row))
                yield connection
        except DirectoryUnavailable as error:
            if isinstance(error.__cause__, IntegrityError):
                raise Refused(f"There is a {what.rsplit(maxsplit=1)[-1]} `{subject}` already.") from error
            raise


async def _insert_key(connection: AsyncConnection, issued: Issued, tenant: str, name: str, settings: str) -> None:
    digest = hashlib.sha256(issued.secret.encode()).hexdigest()
    values = {"id": issued.id, "tenant": tenant, "name": name, "digest": digest, "hint": issued.secret[:_HINT]}
    await connection.execute(insert(KEYS).values(values | {"settings": settings, "created": time.time()}))


async def _revoke(connection: AsyncConnection, key_id: str) -> None:
    wanted = update(KEYS).where(KEYS.c.id == key_id, KEYS.c.revoked.is_(None)).values(revoked=time.time())
    if (await connection.execute(wanted)).rowcount != 1:
        raise Refused(f"There is no key `{key_id[:64]}` that works.")


def _shown(row: Row[Any]) -> JsonObject:
    names = ("id", "tenant", "name", "hint", "created", "revoked")
    return {**{name: getattr(row, name) for name in names}, **orjson.loads(row.settings)}


def _put_tenants(into: People, rows: Iterable[Sequence[Any]]) -> None:
    for name, text in rows:
        try:
            into.put_tenant(name, None if text == _NO_SETTINGS else _tenant(name, orjson.loads(text)))
        except Refused as error:
            _log.error("a stored tenant cannot be used", extra={"tenant": name, "reason": str(error)})
            into.leave_out(name)


def _keys(rows: Iterable[Sequence[Any]]) -> list[StoredKey]:
    """What has become of keys; one that this version cannot read works no more."""
    found = []
    for tenant, name, digest, text, revoked in rows:
        models: frozenset[str] | None = None
        pin, budgets, live = False, tuple[Budget, ...](), revoked is None
        if text != _NO_SETTINGS and live:
            try:
                key = _key(name, orjson.loads(text))
                models = frozenset(key.models) if key.models is not None else None
                pin, budgets = key.pin, key.budgets
            except Refused as error:
                told = {"tenant": tenant, "key": name, "reason": str(error)}
                _log.error("a stored key cannot be used", extra=told)
                live = False
        principal = Principal(sys.intern(tenant), name, models, pin)
        found.append(StoredKey(principal, bytes.fromhex(digest), budgets, live))
    return found


_NO_SETTINGS = "{}"


def _key(name: str, settings: Mapping[str, Any]) -> Key:
    return _valid(Key, name, settings, secret=KeySecret.of_digest(bytes(32)))


def _tenant(name: str, settings: Mapping[str, Any]) -> Tenant:
    return _valid(Tenant, name, settings, keys=())


def _valid(kind: type[T], name: str, settings: Mapping[str, Any], **rest: Any) -> T:
    try:
        return kind.model_validate({**_frozen(dict(settings)), "name": name, **rest})
    except ValidationError as error:
        first = error.errors()[0]
        raise Refused(f"`{'.'.join(map(str, first['loc']))}`: {first['msg']}.") from error


def _frozen(value: Any) -> Any:
    """Lists as tuples, as the settings want them."""
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    return {name: _frozen(inner) for name, inner in value.items()} if isinstance(value, dict) else value


def _parsed(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)
