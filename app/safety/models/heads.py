"""Trained heads: from the vectors of encoders and from character n-grams to probabilities and severities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from app.safety.detector import Severity
from app.safety.models.ngrams import features

Array = npt.NDArray[np.float32]
BUILT = Path(__file__).with_name("built")
SEVERITIES: tuple[Severity, ...] = (2, 4, 6)


class Heads:
    """One file of weights, made by scripts/safety/train.py.

    `outputs` names what it tells (`hate2` is P(hate is at least of severity 2)); `encoders` whose vectors it reads,
    one after the other; `centre` has a mean vector per language and encoder, which is taken away first: without it
    a head learns that what is not English is harmless. `thresholds` says from which probability an output counts;
    `offset`, what is added to the logits of texts in each language so that one threshold does for all.
    """

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.outputs: tuple[str, ...] = tuple(str(name) for name in arrays["outputs"])
        self.encoders: tuple[str, ...] = tuple(str(name) for name in arrays["encoders"])
        self.languages: tuple[str, ...] = tuple(str(name) for name in arrays["languages"])
        self.thresholds: Array = arrays["thresholds"].astype(np.float32)
        self._column = {name: number for number, name in enumerate(self.outputs)}
        self._levels = np.array([name[-1].isdigit() for name in self.outputs])
        self._row = {name: number for number, name in enumerate(self.languages)}
        self._centre = {name: arrays[f"centre_{name}"].astype(np.float32) for name in self.encoders}
        self._scale = {name: float(arrays[f"scale_{name}"]) for name in self.encoders}
        nets = int(arrays["nets"]) if self.encoders else 0
        self._nets = [
            [arrays[f"{part}_{n}"].astype(np.float32) for part in ("w1", "b1", "w2", "b2")] for n in range(nets)
        ]
        self._grams: Array = arrays["grams"].astype(np.float32)
        self._mix: Array = arrays["mix"].astype(np.float32)
        self._offset: Array | None = arrays["offset"].astype(np.float32) if "offset" in arrays else None

    @classmethod
    def load(cls, path: Path) -> Heads:
        """Read a file; it holds arrays only, never objects."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(arrays)

    def probabilities(self, texts: Sequence[str], languages: Sequence[str], vectors: Mapping[str, Array]) -> Array:
        """A row of probabilities, one per output, for each text. `vectors` has a row per text from each encoder."""
        mixed = np.stack([self._of_grams(text) for text in texts]) * self._mix[0] + self._mix[2]
        if self._nets:
            joined = np.concatenate([self._centred(name, languages, vectors[name]) for name in self.encoders], axis=1)
            deep = [np.maximum(joined @ w1 + b1, 0) @ w2 + b2 for w1, b1, w2, b2 in self._nets]
            mixed += np.mean(deep, axis=0) * self._mix[1]
        if self._offset is not None:
            mixed = mixed + self._offset[[self._row.get(language, len(self.languages)) for language in languages]]
        return cast("Array", 1 / (1 + np.exp(-np.clip(mixed, -30, 30))))

    def together(self, whole: Array, single: Array) -> Array:
        """One row for a text out of those of its windows and of its sentences.

        Any piece may be an attack, so the worst counts. How harmful a text is depends on what stands around a sentence,
        too: the mean of the worst window's logit and of the worst piece's.
        """
        worst = np.concatenate([whole, single]).max(axis=0)
        mean = (_logit(whole.max(axis=0)) + _logit(worst)) / 2
        return cast("Array", np.where(self._levels, 1 / (1 + np.exp(-mean)), worst).astype(np.float32))

    def severity(self, harm: str, row: Array) -> Severity:
        """The highest level of a harm whose probability is over its threshold; a 6 only where a 4 is reached as well.

        The threshold of 6 tells 6 from 4. By itself it would let look-alikes through that the threshold of 4 keeps out.
        """
        reached: Severity = 0
        for level in SEVERITIES:
            column = self._column[f"{harm}{level}"]
            if row[column] >= self.thresholds[column] and (level < 6 or reached == 4):
                reached = level
        return reached

    def score(self, output: str, row: Array) -> float:
        """One output's probability."""
        return float(row[self._column[output]])

    def hit(self, output: str, row: Array) -> bool:
        """Whether an output counts."""
        column = self._column[output]
        return bool(row[column] >= self.thresholds[column])

    def _of_grams(self, text: str) -> Array:
        index, weights = features(text)
        return cast("Array", weights @ self._grams[index])

    def _centred(self, name: str, languages: Sequence[str], vectors: Array) -> Array:
        rows = [self._row.get(language, len(self.languages)) for language in languages]
        return cast("Array", (vectors - self._centre[name][rows]) * self._scale[name])


def _logit(chance: Array) -> Array:
    kept = np.clip(chance, 1e-12, 1 - 1e-7)
    return cast("Array", np.log(kept / (1 - kept)))
