"""From which probability an output counts, chosen on training rows scored by models that had not seen them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.safety.models.heads import Array
from scripts.safety.rows import HARMS, SEVERITIES, Row
from scripts.safety.targets import OUTPUTS

FALSE_HARM = 0.03
"""Share of our look-alikes that may be called severity 4, by any of the four harms; the same share by each."""
FALSE_ATTACK = 0.012
TYPICAL = 0.95
"""The quantile of look-alikes that languages are made alike in: higher ones hang on a line or two."""
TRUST = 0.7
MOST_SHIFT = 1.5
LOWEST = 0.2


def offsets(rows: list[Row], languages: list[str], known: Sequence[str], logits: Array) -> Array:
    """What to add to logits by language, so that look-alikes of each score alike: a row a language, one for others."""
    found = np.zeros((len(known) + 1, len(OUTPUTS)), np.float32)
    harmless = np.array([row.own and row.note.startswith("benign") for row in rows])
    spoken = np.array(languages)
    for column, output in enumerate(OUTPUTS):
        if not output[-1].isdigit() and output not in ("jailbreak", "indirect_attack"):
            continue
        everywhere = np.quantile(logits[harmless, column], TYPICAL)
        for place, language in enumerate(known):
            here = harmless & (spoken == language)
            if here.any():
                shift = TRUST * (everywhere - np.quantile(logits[here, column], TYPICAL))
                found[place, column] = np.clip(shift, -MOST_SHIFT, MOST_SHIFT)
    return found


def _share(scores: Array) -> float:
    """The quantile of each column above which `FALSE_HARM` of the rows are in some column."""
    low, high = 1 - FALSE_HARM, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        over = (scores > np.quantile(scores, middle, axis=0)).any(axis=1).mean()
        low, high = (middle, high) if over > FALSE_HARM else (low, middle)
    return high


def choose(rows: list[Row], scores: Array) -> Array:
    """A threshold per output."""
    found = np.full(len(OUTPUTS), 0.5, np.float32)
    lines = np.array([row.own for row in rows])
    harmless = lines & np.array([row.note.startswith("benign") for row in rows])
    middles = [OUTPUTS.index(f"{harm}{SEVERITIES[1]}") for harm in HARMS]
    share = _share(scores[np.ix_(harmless, middles)])
    for harm in HARMS:
        for level in SEVERITIES:
            column = OUTPUTS.index(f"{harm}{level}")
            if level == SEVERITIES[1]:
                found[column] = max(LOWEST, float(np.quantile(scores[harmless, column], share)))
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
