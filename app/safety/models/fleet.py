"""What a worker has of the model-based detectors: members of ensembles, their line, and the process's keeper."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from app.config import Config, Safety, compares_meaning, uses_models
from app.safety.detector import Detector
from app.safety.models.client import Client
from app.safety.models.keeper import Keeper
from app.safety.models.likeness import Likeness
from app.safety.models.members import CATEGORIES, ModelDetector

READY_WITHIN = 30.0
"""Seconds that a worker waits, before it serves, for models that its guards name."""


class Fleet:
    """Runs a process while the configuration in force has a guard that names a model, or compares meanings.

    `shared` is the folder that the workers of one gateway have in common; without one the worker makes its own.
    """

    def __init__(self, config: Callable[[], Config], shared: Path | None = None) -> None:
        self._config = config
        self._own = None if shared is not None else Path(tempfile.gettempdir(), f"sluicegate-{secrets.token_hex(6)}")
        self.keeper = Keeper(shared or self._own or Path(), self._wanted)
        self._client = Client(self.keeper.socket)
        self.likeness = Likeness(self._client)
        self.members: Mapping[str, Detector] = {name: ModelDetector(name, self._client) for name in CATEGORIES}

    async def start(self) -> bool:
        """Begin, and wait for the models where a guard names one; False when they are not there in time."""
        self.look()
        return await self.keeper.ready(READY_WITHIN)

    def look(self) -> None:
        """The configuration may be another: start what it needs. What it does not need ends by itself."""
        if self._wanted() is None:
            return
        if self._own is not None:
            self._own.mkdir(mode=0o700, exist_ok=True)
        self.keeper.look()

    async def aclose(self) -> None:
        """End the process, if this worker has it."""
        await self._client.aclose()
        await self.keeper.aclose()
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    def _wanted(self) -> Safety | None:
        config = self._config()
        return config.safety if uses_models(config.guards) or compares_meaning(config.models) else None
