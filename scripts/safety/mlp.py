"""A small network with one hidden layer, trained with Adam on labels of which many are unknown. NumPy and no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train."""

    hidden: int = 512
    epochs: int = 30
    batch: int = 256
    rate: float = 2e-3
    decay: float = 1e-4
    drop_input: float = 0.1
    drop_hidden: float = 0.3
    smooth: float = 0.1
    """How far labels are moved towards the middle: who is never quite sure is less wrong about what is new."""


@dataclass(slots=True)
class Net:
    """Weights of input to hidden and of hidden to output."""

    w1: Array
    b1: Array
    w2: Array
    b2: Array

    def logits(self, x: Array) -> Array:
        """One row of logits for each row of features."""
        return cast("Array", np.maximum(x @ self.w1 + self.b1, 0) @ self.w2 + self.b2)

    def parameters(self) -> list[Array]:
        """In a fixed order."""
        return [self.w1, self.b1, self.w2, self.b2]


def fit(x: Array, y: Array, weight: Array, seed: int, settings: Settings = Settings()) -> Net:
    """Minimise the cross-entropy per output, each output's mean over the rows that have a label (weight above 0)."""
    random = np.random.default_rng(seed)
    y = y * np.float32(1 - 2 * settings.smooth) + np.float32(settings.smooth)
    width, outputs = x.shape[1], y.shape[1]
    net = Net(
        (random.standard_normal((width, settings.hidden)) * np.sqrt(2 / width)).astype(np.float32),
        np.zeros(settings.hidden, np.float32),
        (random.standard_normal((settings.hidden, outputs)) * np.sqrt(1 / settings.hidden)).astype(np.float32),
        np.zeros(outputs, np.float32),
    )
    positive = _balance(y, weight)
    mean = [np.zeros_like(p) for p in net.parameters()]
    square = [np.zeros_like(p) for p in net.parameters()]
    steps = settings.epochs * -(-len(x) // settings.batch)
    step = 0
    for _ in range(settings.epochs):
        order = random.permutation(len(x))
        for start in range(0, len(x), settings.batch):
            rows = order[start : start + settings.batch]
            gradient = _gradient(
                net, x[rows], y[rows], weight[rows] * np.where(y[rows] > 0.5, positive, 1), random, settings
            )
            step += 1
            rate = settings.rate * 0.5 * (1 + np.cos(np.pi * step / steps))
            for at, (slope, first, second) in enumerate(zip(gradient, mean, square, strict=True)):
                first += 0.1 * (slope - first)  # noqa: PLW2901 - in place
                second += 0.001 * (slope * slope - second)  # noqa: PLW2901 - in place
                kept = 1 - rate * settings.decay if slope.ndim > 1 else 1
                move = rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
                weights = net.parameters()[at]
                weights *= np.float32(kept)
                weights -= move.astype(np.float32)
    return net


def _balance(y: Array, weight: Array) -> Array:
    """How much more a positive label counts: the square root or so of how rare it is, up to twelve times."""
    positive = (y * weight).sum(0)
    negative = ((1 - y) * weight).sum(0)
    return cast("Array", (np.clip(negative / np.maximum(positive, 1), 1, 12) ** 0.7).astype(np.float32))


def _gradient(
    net: Net, x: Array, y: Array, weight: Array, random: np.random.Generator, settings: Settings
) -> list[Array]:
    x = x * _mask(x.shape, settings.drop_input, random)
    before = x @ net.w1 + net.b1
    kept = _mask(before.shape, settings.drop_hidden, random)
    hidden = np.maximum(before, 0) * kept
    logits = hidden @ net.w2 + net.b2
    error = (1 / (1 + np.exp(-logits)) - y) * weight / np.maximum(weight.sum(0), 1)
    error = error.astype(np.float32)
    back = (error @ net.w2.T) * kept * (before > 0)
    return [x.T @ back, back.sum(0), hidden.T @ error, error.sum(0)]


def _mask(shape: tuple[int, ...], share: float, random: np.random.Generator) -> Array:
    return ((random.random(shape, dtype=np.float32) >= share) / np.float32(1 - share)).astype(np.float32)
