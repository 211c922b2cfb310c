"""The line to Redis: kept up by one background task, checked at every connect, and never waited for without a bound.

The epoch names the state in Redis. It begins with the server's `run_id`, so after a restart or a failover the first
worker that connects finds an epoch of another server and closes it: what a server lost at its end, nobody can know. A
line without an epoch admits nothing until somebody has rebuilt the state and opened the next one.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from app.stores.redis import CLOSED
from app.stores.resp import Connection, Reply, ReplyError, Unanswered, encode

TAG = b"{sluicegate}"
"""The hash tag that begins every key."""

_log = logging.getLogger("sluicegate")
_RETRY_S = (0.05, 1.0)
_POLL_S = 0.2
_CONNECT_S = 1.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is: `redis://[user:password@]host[:port][/db]`, `rediss://…` for TLS, or `unix:///path`."""

    host: str
    port: int
    path: str
    tls: bool
    user: str
    password: str
    database: int

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL. Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in {"redis", "rediss", "unix"}:
            raise ValueError(f"not a Redis URL: {parts.scheme}://")
        path = unquote(parts.path) if parts.scheme == "unix" else ""
        database = 0 if path else int(parts.path.strip("/") or 0)
        login = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.hostname or "localhost", parts.port or 6379, path, parts.scheme == "rediss", *login, database)


class Line:
    """One connection to Redis, made again whenever it breaks. Run `keep` in a background task.

    `epoch` is the epoch that this worker works in, empty while there is none (`up` is then false). `on_change` is
    called whenever `up` or `epoch` may have changed.
    """

    def __init__(self, address: Address, script: str, timeout: float, on_change: Callable[[], None]) -> None:
        self.epoch = ""
        self.server = ""
        self._address = address
        self._script = script
        self._timeout = timeout
        self._on_change = on_change
        self._head = b""
        self._connection: Connection | None = None

    @property
    def up(self) -> bool:
        """Whether a request may be admitted: connected, answering, and in an epoch."""
        return bool(self.epoch) and self._connection is not None and not self._connection.stalled

    @property
    def stalled(self) -> bool:
        """Whether it is connected, and the last command was not answered in time."""
        return self._connection is not None and self._connection.stalled

    @property
    def connected(self) -> bool:
        """Whether the script can be run at all."""
        return self._connection is not None

    async def run(self, count: int, encoded: bytes) -> list[int]:
        """Run the script with `count` encoded arguments. Raises Unanswered."""
        numbers = [int(one) for one in await self._ask(count, encoded)]
        if numbers[0] == CLOSED:
            self._set_epoch("")
        return numbers

    async def texts(self, count: int, encoded: bytes) -> list[str]:
        """The same where the reply holds names; numbers come as text."""
        return [str(one) if isinstance(one, int) else one.decode() for one in await self._ask(count, encoded)]

    async def _ask(self, count: int, encoded: bytes) -> list[int | bytes]:
        if self._connection is None:
            raise Unanswered("not connected", asked=False)
        try:
            reply = await self._connection.ask(count + 4, self._head + encoded)
        except ReplyError as error:
            # READONLY, LOADING, NOSCRIPT after a flush, OOM: this server cannot do it now. Begin with a new handshake.
            _log.warning("redis refused", extra={"reply": str(error)})
            self._drop()
            raise Unanswered(str(error), asked=True) from error
        if not isinstance(reply, list) or not reply:
            raise Unanswered("the script answered no list", asked=True)
        return [one for one in reply if isinstance(one, int | bytes)]

    async def keep(self) -> None:
        """Connect, stay connected, follow the epoch. Ends by being cancelled."""
        pause = _RETRY_S[0]
        while True:
            try:
                async with asyncio.timeout(_CONNECT_S):
                    connection = await self._connect()
                pause = _RETRY_S[0]
                await self._follow(connection)
            except (OSError, TimeoutError, ReplyError, Unanswered) as error:
                _log.warning("redis is not reachable", extra={"reason": str(error) or type(error).__name__})
            finally:
                self._drop()
            await asyncio.sleep(pause)
            pause = min(pause * 2, _RETRY_S[1])

    async def _follow(self, connection: Connection) -> None:
        """Ask for the epoch again and again while there is none, and now and then while there is one."""
        self._connection = connection
        while not connection.closed.done():
            try:
                await self._read_epoch(connection)
            except Unanswered as error:
                if not error.asked:
                    return
            self._on_change()
            await asyncio.wait([connection.closed], timeout=_POLL_S)

    async def _connect(self) -> Connection:
        at, loop = self._address, asyncio.get_running_loop()

        def make() -> Connection:
            return Connection(self._timeout)

        if at.path:
            _, connection = await loop.create_unix_connection(make, at.path)
        else:
            _, connection = await loop.create_connection(make, at.host, at.port, ssl=at.tls or None)
        try:
            await self._greet(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _greet(self, connection: Connection) -> None:
        at = self._address
        if at.password:
            login = (at.user, at.password) if at.user else (at.password,)
            await connection.command(b"AUTH", *[part.encode() for part in login])
        if at.database:
            await connection.command(b"SELECT", b"%d" % at.database)
        self.server = _run_id(await connection.command(b"INFO", b"server"))
        _check_eviction(await connection.command(b"INFO", b"memory"))
        sha = await connection.command(b"SCRIPT", b"LOAD", self._script.encode())
        if not isinstance(sha, bytes):
            raise ReplyError("SCRIPT LOAD answered no digest")
        self._head = encode((b"EVALSHA", sha, b"1", TAG))
        await self._read_epoch(connection)

    async def _read_epoch(self, connection: Connection) -> None:
        found = await connection.command(b"GET", TAG + b":epoch")
        epoch = found.decode() if isinstance(found, bytes) else ""
        if epoch and epoch.partition(".")[0] != self.server:
            _log.warning("redis was restarted or replaced: its state is closed until it is rebuilt")
            await connection.ask(6, self._head + encode((b"close", epoch.encode())))
            epoch = ""
        self._set_epoch(epoch)

    def _set_epoch(self, epoch: str) -> None:
        if epoch != self.epoch:
            self.epoch = epoch
            self._on_change()

    def _drop(self) -> None:
        """Forget the connection. The epoch stays until the next one tells otherwise: slices are held in it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._on_change()


def _run_id(info: Reply) -> str:
    found = re.search(rb"^run_id:(\w+)", info, re.MULTILINE) if isinstance(info, bytes) else None
    if found is None:
        raise ReplyError("INFO server tells no run_id")
    return found[1].decode()


def _check_eviction(info: Reply) -> None:
    bounded = isinstance(info, bytes) and re.search(rb"^maxmemory:[1-9]", info, re.MULTILINE)
    if bounded and isinstance(info, bytes) and b"maxmemory_policy:noeviction" not in info:
        raise ReplyError(
            "maxmemory-policy has to be noeviction: a counter that is evicted is a budget that is forgotten"
        )
