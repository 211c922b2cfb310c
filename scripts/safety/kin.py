"""Which of our lines say much the same, in whatever language: in a cross-validation they belong together.

Many lines have counterparts in other languages. Where one is trained on and the other judged, a model looks better
than it is on what nobody wrote down yet, and thresholds come out too low.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from app.safety.models.heads import Array
from scripts.safety.rows import bucket

ALIKE = 0.62
"""The cosine of two centred vectors, the mean over the encoders, from which lines are kin; kinship is passed on."""


def families(vectors: Sequence[Array]) -> npt.NDArray[np.int64]:
    """The number of each line's family, which is that of its first member. `vectors`: per encoder, a row a line."""
    count = len(vectors[0])
    first = np.arange(count)

    def family(line: int) -> int:
        while first[line] != line:
            first[line] = first[first[line]]
            line = first[line]
        return line

    units = [_unit(rows) for rows in vectors]
    for start in range(0, count, 512):
        likeness = _likeness([rows[start : start + 512] for rows in units], units)
        for line, other in zip(*np.nonzero(likeness > ALIKE), strict=True):
            older, younger = sorted((family(line + start), family(other)))
            first[younger] = older
    return np.array([family(line) for line in range(count)])


def near(vectors: Sequence[Array], others: Sequence[Array]) -> npt.NDArray[np.bool_]:
    """Which lines are kin of one of some others. Both: per encoder, a row a line."""
    return np.asarray(
        _likeness([_unit(rows) for rows in vectors], [_unit(rows) for rows in others]).max(axis=1) > ALIKE
    )


def _unit(rows: Array) -> Array:
    return cast("Array", rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))


def _likeness(some: Sequence[Array], others: Sequence[Array]) -> Array:
    return cast("Array", np.mean([one @ other.T for one, other in zip(some, others, strict=True)], axis=0))


def folds(texts: Sequence[str], lines: Sequence[int], vectors: Sequence[Array], count: int) -> npt.NDArray[np.int64]:
    """In which of `count` folds each text is: by its hash; `lines`, which are ours, by that of their family's first."""
    found = np.array([bucket("fold" + text) % count for text in texts])
    if vectors and lines:
        at = np.asarray(lines)
        found[at] = found[at[families([rows[at] for rows in vectors])]]
    return found
