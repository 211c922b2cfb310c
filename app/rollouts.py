"""The rollout machinery of one process: its observations, its view of the store, and the controller, if it acts."""

from __future__ import annotations

import os
from collections.abc import Callable
from secrets import token_hex

from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import Config
from app.control.controller import Controller
from app.control.rollouts import Rollouts
from app.pipeline.observe import Observer
from app.stores.notes import Notes
from app.stores.rollouts import RolloutStore
from app.table import Table, with_rollouts
from app.tasks import TaskGroup
from app.telemetry import DROPPED, Telemetry


class Steering:
    """Made in a running loop. `config` gives the running configuration, `rebuild` has the table built again."""

    def __init__(
        self,
        database: AsyncEngine,
        telemetry: Telemetry,
        clock: Callable[[], float],
        config: Callable[[], Config],
        rebuild: Callable[[], None],
    ) -> None:
        store = RolloutStore(database)
        self.rollouts = Rollouts(store, config, rebuild)
        self._notes = Notes(store, telemetry.counter(DROPPED, "rollout_observations"), clock)
        self.observer = Observer(self._notes)
        self._controller = Controller(
            store, telemetry, f"{os.getpid()}.{token_hex(8)}", clock, config, lambda: self.rollouts.any
        )

    def finish(self, table: Table) -> Table:
        """A table with the weights that the store owns."""
        return with_rollouts(table, self.rollouts.lives)

    def start(self, tasks: TaskGroup) -> None:
        """Watch, observe and act from now on; ends with the tasks."""
        tasks.spawn("rollouts", self.rollouts.watch())
        tasks.spawn("rollout-observations", self._notes.run())
        tasks.spawn("rollout-controller", self._controller.run())

    async def aclose(self) -> None:
        """Write what was observed, and let another controller act. After the tasks have ended."""
        await self._notes.flush()
        await self._controller.aclose()
