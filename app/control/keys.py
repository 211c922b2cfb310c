"""Keeps the tenants and keys that are stored in the database at hand for requests: change by change."""

from __future__ import annotations

import asyncio
import gc
import logging
import time

from app.config.service import Stores
from app.people import People
from app.stores.directory import Directory, DirectoryUnavailable
from app.tasks import TaskGroup

EVERY = 0.4
"""Seconds between two looks: a key that was revoked anywhere is refused here within a second."""
AT_FIRST = 0.02
"""The same until the first that brought anything."""
AWAY_S = 2.0
"""Seconds for which a process that begins waits for a database that is away."""
_log = logging.getLogger("sluicegate")


class StoredKeys:
    """Keeps `people` as the directory has them, in a process that has these stores and so many workers beside it."""

    def __init__(self, directory: Directory, stores: Stores, workers: int) -> None:
        self._directory = directory
        self._ledger = stores.ledger
        self._counted = workers == 1 or stores.limits != "memory"
        self.people = People(self._countable)
        self._version = 0
        self._turn = asyncio.Lock()
        self.known = asyncio.Event()
        """Whether what is stored has been read."""

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
            if self.known.is_set() or time.monotonic() - begun > AWAY_S:
                looked.set()
            await asyncio.sleep(EVERY if looked.is_set() else AT_FIRST)

    async def refresh(self) -> None:
        """Look now. Raises DirectoryUnavailable."""
        async with self._turn:
            version = await self._directory.version()
            if version == self._version:
                return
            if version < self._version or not await self._directory.changes(self._version, self.people):
                fresh = People(self._countable)
                await self._directory.everything(fresh)
                self.people.become(fresh)
                gc.freeze()  # a million keys are no garbage: looking through them takes half a second each time
            self._version = version

    def _countable(self, name: str, budgeted: bool, limited: bool) -> bool:  # noqa: FBT001 # two facts
        """Whether what limits a stored tenant can be counted here: budgets need a ledger, workers a shared store."""
        missing = ""
        if budgeted and not self._ledger:
            missing = "has budgets, and `stores.ledger` is off"
        elif limited and not self._counted:
            missing = "needs `stores.limits: redis://…`"
        if missing:
            _log.error("a stored tenant is left out", extra={"tenant": name, "reason": f"it {missing}"})
        return not missing
