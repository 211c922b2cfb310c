"""Keeps the tenants and keys that are stored in the database in the running table."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from app.config import Config, Tenant
from app.config.checks import tenant_has_budgets, tenant_is_limited
from app.stores.directory import Directory, DirectoryUnavailable, Refused
from app.tasks import TaskGroup

EVERY = 0.4
"""Seconds between two looks: a key that was revoked anywhere is refused here within a second."""
AT_FIRST = 0.02
"""The same until the first that brought anything."""
AWAY_S = 2.0
"""Seconds for which a process that begins waits for a database that is away."""
_log = logging.getLogger("sluicegate")


class StoredKeys:
    """Watches the directory. `apply` is called when what `extend` adds has changed."""

    def __init__(self, directory: Directory, apply: Callable[[], None]) -> None:
        self._directory = directory
        self._apply = apply
        self._tenants: tuple[Tenant, ...] = ()
        self._version = 0
        self.known = asyncio.Event()
        """Whether what is stored has been read, or turned out to be of no use."""

    async def start(self, tasks: TaskGroup) -> None:
        """Watch from now on; ends with the tasks.

        Returns once what is stored is known, or the database has been away for AWAY_S.
        """
        looked = asyncio.Event()
        tasks.spawn("keys", self._watch(looked))
        await looked.wait()

    async def _watch(self, looked: asyncio.Event) -> None:
        """Look again and again. While the database is away, what was known last stays in force."""
        begun = time.monotonic()
        while True:
            try:
                await self.refresh()
                self.known.set()
            except DirectoryUnavailable:
                pass  # told by the ledger's delivery, which needs the same database
            except Refused as error:
                _log.error("stored keys cannot be used", extra={"reason": str(error)})
                self.known.set()
            if self.known.is_set() or time.monotonic() - begun > AWAY_S:
                looked.set()
            await asyncio.sleep(EVERY if looked.is_set() else AT_FIRST)

    async def refresh(self) -> None:
        """Look now. Raises DirectoryUnavailable, or Refused where this version cannot read what is stored."""
        version = await self._directory.version()
        if version != self._version:
            self._tenants = await self._directory.tenants()
            self._version = version
            self._apply()

    def extend(self, config: Config) -> Config:
        """The configuration with what is stored. Where both name the same, the file wins."""
        stored = {one.name: one for one in self._tenants if _can_be_held(one, config)}
        taken = {key.secret.digest for tenant in config.tenants for key in tenant.keys}
        merged = [_merged(one, stored.pop(one.name, None), taken) for one in config.tenants]
        return config.model_copy(update={"tenants": (*merged, *(_merged(one, one, taken) for one in stored.values()))})


def _can_be_held(tenant: Tenant, config: Config) -> bool:
    """Whether what limits a stored tenant can be counted here: budgets need a ledger, workers a shared store."""
    if not config.stores.ledger and tenant_has_budgets(tenant):
        _log.error(
            "a stored tenant has budgets, and `stores.ledger` is off: it is left out", extra={"tenant": tenant.name}
        )
        return False
    alone = config.server.workers == 1 or config.stores.limits != "memory"
    if alone or not tenant_is_limited(tenant):
        return True
    _log.error("a stored tenant needs `stores.limits: redis://…`: it is left out", extra={"tenant": tenant.name})
    return False


def _merged(tenant: Tenant, stored: Tenant | None, taken: set[bytes]) -> Tenant:
    if stored is None:
        return tenant
    own = () if tenant is stored else tenant.keys
    names = {key.name for key in own}
    more = tuple(key for key in stored.keys if key.name not in names and key.secret.digest not in taken)
    return tenant.model_copy(update={"keys": (*own, *more)})
