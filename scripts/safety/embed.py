"""Vectors of texts, kept in a folder outside the repository so that training again costs seconds, not an hour."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.safety.models.encoders import LONGEST
from app.safety.models.engine import Encoder
from app.safety.models.heads import Array

_AT_ONCE = 256


def mark(text: str) -> str:
    """A text's name in the cache: of what an encoder reads of it."""
    return hashlib.sha256(text[:LONGEST].encode("utf-8", "replace")).hexdigest()[:24]


class Cache:
    """Vectors of one encoder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, Array] = {}
        if path.exists():
            with np.load(path, allow_pickle=False) as arrays:
                self._rows = dict(zip(arrays["marks"].tolist(), arrays["vectors"].astype(np.float32), strict=True))

    def __contains__(self, text: str) -> bool:
        return mark(text) in self._rows

    def add(self, texts: Sequence[str], encode: Encoder) -> None:
        """Have a vector of each text; what was not there is saved as it comes."""
        new = list({mark(text): text for text in texts if text not in self}.values())
        for start in range(0, len(new), _AT_ONCE):
            some = new[start : start + _AT_ONCE]
            self._rows.update(zip(map(mark, some), encode(some), strict=True))
            if start // _AT_ONCE % 8 == 7:
                self._save()
        if new:
            self._save()

    def rows(self, texts: Sequence[str]) -> Array:
        """Their vectors; every one has to be there."""
        return np.stack([self._rows[mark(text)] for text in texts]).astype(np.float32)

    def _save(self) -> None:
        part = self._path.with_suffix(".part.npz")
        vectors = np.stack(list(self._rows.values())).astype(np.float16)
        np.savez(part, marks=np.array(list(self._rows)), vectors=vectors)
        part.replace(self._path)
