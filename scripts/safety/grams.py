"""A linear model on hashed character n-grams, trained with AdaGrad on sparse rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.safety.models.heads import Array
from app.safety.models.ngrams import BITS, features

EPOCHS, BATCH, RATE, DECAY = 3, 128, 0.25, 2e-6


class Sparse:
    """Rows of n-gram features, computed once."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.rows = [features(text) for text in texts]

    def logits(self, weights: Array, bias: Array) -> Array:
        """A row of logits for each text."""
        return np.stack([share @ weights[index] for index, share in self.rows]).astype(np.float32) + bias


def fit(sparse: Sparse, rows: Sequence[int], y: Array, weight: Array, seed: int) -> tuple[Array, Array]:
    """Weights per bucket and output, and a bias per output. `y` and `weight` are of all rows of `sparse`."""
    random = np.random.default_rng(seed)
    outputs = y.shape[1]
    weights, squares = np.zeros((2**BITS, outputs), np.float32), np.full((2**BITS, outputs), 1e-4, np.float32)
    bias, bias_squares = np.full(outputs, -2, np.float32), np.full(outputs, 1e-2, np.float32)
    positive, total = (y * weight)[rows].sum(0), weight[rows].sum(0)
    counts = weight * np.where(y > 0.5, np.clip((total - positive) / np.maximum(positive, 1), 1, 12) ** 0.7, 1)
    counts /= np.maximum(total, 1) / len(rows)
    for epoch in range(EPOCHS):
        order = random.permutation(np.asarray(rows))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            index = np.concatenate([sparse.rows[at][0] for at in batch])
            share = np.concatenate([sparse.rows[at][1] for at in batch])[:, None]
            ends = np.cumsum([0, *(len(sparse.rows[at][0]) for at in batch)])[:-1]
            logits = np.add.reduceat(weights[index] * share, ends, axis=0) + bias
            error = ((1 / (1 + np.exp(-logits)) - y[batch]) * counts[batch] / BATCH).astype(np.float32)
            spread = np.repeat(error, np.diff([*ends, len(index)]), axis=0) * share
            order_in = np.argsort(index, kind="stable")
            used, first = np.unique(index[order_in], return_index=True)
            gradient = np.add.reduceat(spread[order_in], first, axis=0)
            gradient += DECAY * weights[used]
            squares[used] += gradient**2
            weights[used] -= RATE / (1 + 0.5 * epoch) * gradient / np.sqrt(squares[used])
            slope = error.sum(0)
            bias_squares += slope**2
            bias -= 0.05 * slope / np.sqrt(bias_squares)
    return weights, bias
