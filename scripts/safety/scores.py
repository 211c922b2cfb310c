"""What a model said to rows whose labels are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from app.safety.models.engine import HARMS
from app.safety.models.heads import Array
from scripts.safety.rows import Row

Flags = npt.NDArray[np.bool_]
BLOCKED = 4
"""The severity from which the examples' guards block."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Rows, probabilities by output, severities by harm, and hits by attack."""

    rows: list[Row]
    columns: dict[str, Array]
    severities: dict[str, npt.NDArray[np.int64]]
    hits: dict[str, Flags]

    def where(self, wanted: Callable[[Row], bool]) -> Flags:
        """Which rows are wanted."""
        return np.array([wanted(row) for row in self.rows], bool)

    @property
    def harm(self) -> Array:
        """The largest probability of a harm of severity 4."""
        return cast("Array", np.max([self.columns[f"{harm}4"] for harm in HARMS], axis=0))

    @property
    def harmful(self) -> Flags:
        """Whether some harm would be blocked."""
        return cast("Flags", np.max([self.severities[harm] for harm in HARMS], axis=0) >= BLOCKED)

    @property
    def attack(self) -> Array:
        """The larger probability of an attack of either kind."""
        return np.maximum(self.columns["jailbreak"], self.columns["indirect_attack"])

    @property
    def attacked(self) -> Flags:
        """Whether a user's text would be taken for an attack, or a document's."""
        return self.hits["jailbreak"] | self.hits["indirect_attack"]
