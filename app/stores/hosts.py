"""Which hosts share a Redis: whoever may have spent from its budgets, and so has to be heard before they are rebuilt.

A host is a spool folder. It has a row here before any of its workers takes anything from Redis, and keeps it until it
has ended in good order with an empty spool, or an operator forgets it. The file `host.id` beside the spool says that
the row is there; its number is a new one each time, so that a late deletion hits no later row. While the row is given
up the file is called `host.left`: what is cut off then is finished by whoever leaves or registers next.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import orjson
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from app.stores.delivery import SinkUnavailable
from app.stores.tables import AUDIT, HOSTS
from app.stores.transactions import reading, writing

_OWN = frozenset({"delivery.lock", "host.lock"})


@dataclass(frozen=True, slots=True)
class Host:
    """One of them. `seen` is when it was heard of last, in seconds since 1970."""

    id: str
    name: str
    since: float
    seen: float


class Hosts:
    """The table, and this host's place in it: `folder` holds its spools."""

    def __init__(self, folder: Path, database: AsyncEngine) -> None:
        self._database = database
        self._folder = folder
        self._file = folder / "host.id"
        self._left = folder / "host.left"

    @property
    def own(self) -> str | None:
        """This host's number; None while it has none."""
        return _read(self._file)

    async def register(self) -> bool:
        """See to it that this host is known. False while another process of it is about that. Raises SinkUnavailable.

        Have the lock of the worker's own spool taken before: who leaves looks for it.
        """
        if self.own is not None:
            return True
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._alone() as alone:
            if alone and self.own is None:
                await self._register()
        return alone

    async def seen(self) -> None:
        """Note that this host lives; comes back where an operator has forgotten it. Raises SinkUnavailable."""
        number = self.own
        if number is None:
            return
        async with writing(self._database, SinkUnavailable) as connection:
            told = update(HOSTS).where(HOSTS.c.id == number).values(seen=time.time())
            if not (await connection.execute(told)).rowcount:
                await connection.execute(insert(HOSTS).values(_row(number)))

    async def known(self) -> list[Host]:
        """All of them. Raises SinkUnavailable."""
        async with reading(self._database, SinkUnavailable) as connection:
            found = await connection.execute(select(HOSTS).order_by(HOSTS.c.since))
            return [Host(one.id, one.name, one.since, one.seen) for one in found]

    async def leave(self) -> bool:
        """Give up the place, if everything here was delivered and no worker lives. Raises SinkUnavailable.

        Whoever calls it holds the delivery's lock, and has ended its own spool.
        """
        if self.own is None and not self._left.exists():
            return False
        with self._alone() as alone:
            number = self._step_out() if alone else None
            if number is None:
                return False
            async with writing(self._database, SinkUnavailable) as connection:
                await connection.execute(delete(HOSTS).where(HOSTS.c.id == number))
            self._left.unlink()
        return True

    async def forget(self, who: str, ids: Sequence[str]) -> list[str]:
        """Strike hosts that will not come back, by their numbers; those that were there. Raises SinkUnavailable."""
        gone = []
        async with writing(self._database, SinkUnavailable) as connection:
            for one in (await connection.execute(select(HOSTS).where(HOSTS.c.id.in_(ids)))).all():
                await connection.execute(delete(HOSTS).where(HOSTS.c.id == one.id))
                before = orjson.dumps({"name": one.name, "since": one.since, "seen": one.seen}).decode()
                row = {"at": time.time(), "who": who, "what": "host.forget", "subject": one.id, "before": before}
                await connection.execute(insert(AUDIT).values(row))
                gone.append(one.id)
        return gone

    async def _register(self) -> None:
        draft = self._folder / "host.new"
        # The same number again where a try before this one was cut off: its row may be there.
        number = _read(draft)
        if not number:
            number = token_hex(8)
            await asyncio.to_thread(_write, draft, number)
        gone = [number, _read(self._left) or number]
        async with writing(self._database, SinkUnavailable) as connection:
            await connection.execute(delete(HOSTS).where(HOSTS.c.id.in_(gone)))
            await connection.execute(insert(HOSTS).values(_row(number)))
        draft.replace(self._file)
        self._left.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other process of this host is about its place; none will be meanwhile."""
        descriptor = os.open(self._folder / "host.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            alone = True
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                alone = False
            yield alone
        finally:
            os.close(descriptor)

    def _step_out(self) -> str | None:
        """The number to be given up, no worker's any more; None where there is none, or a worker lives."""
        if self._in_use():
            return None
        if self.own is not None:
            self._file.replace(self._left)
            if self._in_use():  # a worker has begun meanwhile, and may have seen the file
                self._left.replace(self._file)
                return None
        return _read(self._left)

    def _in_use(self) -> bool:
        """Whether a worker lives here, or has left something."""
        locks = {path.name for path in self._folder.glob("*.lock")} - _OWN
        return bool(locks) or any(self._folder.glob("*-*.log"))


def _row(number: str) -> dict[str, object]:
    return {"id": number, "name": os.uname().nodename[:255], "since": time.time(), "seen": time.time()}


def _read(path: Path) -> str | None:
    with suppress(FileNotFoundError):
        return path.read_text(encoding="ascii")
    return None


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(".part")
    with draft.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
