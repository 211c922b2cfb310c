"""How alike two texts are in what they mean: the cosine of their embeddings, in the detector process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from app.safety.models.heads import Array
from app.safety.models.pieces import windows

MOST_WINDOWS = 12
"""Windows of a text that are read; of a longer one the first ones."""
_PREFERRED = "use"
"""Its cosines spread over the whole scale; those of e5 all lie above 0.7."""


def likeness(texts: Sequence[str], encoders: Mapping[str, Callable[[Sequence[str]], Array]]) -> float | None:
    """The cosine of two texts' embeddings, -1 to 1; a long text's is the mean of its windows'.

    None where a text is blank or there is no encoder.
    """
    encode = encoders.get(_PREFERRED) or next(iter(encoders.values()), None)
    parts = [windows(text)[:MOST_WINDOWS] if text.strip() else [] for text in texts]
    if encode is None or not all(parts):
        return None
    rows = encode([part for of_one in parts for part in of_one])
    one, other = np.mean(rows[: len(parts[0])], axis=0), np.mean(rows[len(parts[0]) :], axis=0)
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return round(float(one @ other) / length, 4) if length else None
