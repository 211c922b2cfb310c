"""From which probability an output counts, chosen on training rows scored by models that had not seen them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.safety.models.heads import Array
from scripts.safety.rows import HARMS, SEVERITIES, Row
from scripts.safety.targets import OUTPUTS

FALSE_HARM = 0.012
"""Share of our look-alikes that one harm may call severity 4; four harms together stay under 5 %."""
FALSE_ATTACK = 0.012
LOWEST = 0.2


def choose(rows: list[Row], scores: Array) -> Array:
    """A threshold per output."""
    found = np.full(len(OUTPUTS), 0.5, np.float32)
    lines = np.array([row.own for row in rows])
    harmless = lines & np.array([row.note.startswith("benign") for row in rows])
    for harm in HARMS:
        for level in SEVERITIES:
            column = OUTPUTS.index(f"{harm}{level}")
            if level == SEVERITIES[1]:
                found[column] = max(LOWEST, float(np.quantile(scores[harmless, column], 1 - FALSE_HARM)))
            else:
                levels = np.array([row.levels.get(harm, -1) for row in rows])
                # Harmless lines and the other levels of the same harm, as much of the one as of the other.
                near = lines & (levels >= 0) & ((levels > 0) | harmless)
                found[column] = _best(scores[near, column], levels[near] >= level)
        middle = found[OUTPUTS.index(f"{harm}4")]
        found[OUTPUTS.index(f"{harm}2")] = min(found[OUTPUTS.index(f"{harm}2")], middle)
    for attack in ("jailbreak", "indirect_attack"):
        column = OUTPUTS.index(attack)
        negative = np.array([row.hits.get("injection") is False for row in rows])
        found[column] = max(
            LOWEST,
            float(np.quantile(scores[harmless, column], 1 - FALSE_ATTACK)),
            float(np.quantile(scores[negative & ~lines, column], 1 - FALSE_ATTACK)),
        )
    return found


def _best(scores: Array, positive: npt.NDArray[np.bool_]) -> float:
    """The threshold with the best mean of recall and specificity."""
    if not positive.any() or positive.all():
        return 0.5
    tried = np.quantile(scores, np.linspace(0.02, 0.98, 97))
    worth = [(scores[positive] >= at).mean() + (scores[~positive] < at).mean() for at in tried]
    return float(tried[int(np.argmax(worth))])
