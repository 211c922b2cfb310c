"""Train and judge the model behind `grounded`: `python -m scripts.safety.ground`. Its lines are all our own."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.safety.models.encoders import Use
from app.safety.models.grounding import FEATURES, Encode, features
from app.safety.models.heads import BUILT, Array
from scripts.safety.measures import auroc

FALSE_ALARMS = 0.05


@dataclass(frozen=True, slots=True)
class Pair:
    """A document, a claim about it, and whether the document bears it out."""

    language: str
    document: str
    claim: str
    grounded: bool


def pairs(text: str) -> list[Pair]:
    """`## LANGUAGE`, then `D` and a document, then `+` and `-` with what it bears out and what not."""
    found, language, document = [], "", ""
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "##":
            language = rest
        elif kind == "D":
            document = rest
        elif kind in {"+", "-"}:
            found.append(Pair(language, document, rest, kind == "+"))
    return found


def read(split: str) -> list[Pair]:
    """The lines of a split."""
    return pairs((Path(__file__).parent / "grounding" / f"{split}.txt").read_text("utf-8"))


def with_strangers(found: list[Pair]) -> list[Pair]:
    """And each grounded claim once more, held against the next document of its language, which does not bear it out."""
    more = []
    for language in dict.fromkeys(pair.language for pair in found):
        documents = list(dict.fromkeys(pair.document for pair in found if pair.language == language))
        for pair in found:
            if pair.language == language and pair.grounded and len(documents) > 1:
                other = documents[(documents.index(pair.document) + 1) % len(documents)]
                more.append(Pair(language, other, pair.claim, grounded=False))
    return [*found, *more]


def rows(found: list[Pair], encode: Encode | None) -> tuple[Array, Array]:
    """Features, and 1 where the claim is not borne out."""
    x = np.concatenate([features([pair.claim], [pair.document], encode) for pair in found])
    return x, np.array([not pair.grounded for pair in found], np.float32)


def fit(x: Array, y: Array, ridge: float = 1.0) -> tuple[Array, float]:
    """Logistic regression by Newton's method, on features scaled to a like spread."""
    mean, spread = x.mean(0), x.std(0) + 1e-3
    scaled = np.concatenate([(x - mean) / spread, np.ones((len(x), 1))], axis=1)
    beta = np.zeros(FEATURES + 1)
    penalty = np.diag([ridge] * FEATURES + [0.01])
    for _ in range(30):
        p = 1 / (1 + np.exp(-scaled @ beta))
        slope = scaled.T @ (p - y) + penalty @ beta
        beta -= np.linalg.solve((scaled * (p * (1 - p))[:, None]).T @ scaled + penalty, slope)
    weights = (beta[:-1] / spread).astype(np.float32)
    return weights, float(beta[-1] - weights @ mean)


def main() -> None:
    """Train on the training lines, tell how it does on the test lines, write the file."""
    encode = Use()
    x, y = rows(with_strangers(read("train")), encode)
    weights, bias = fit(x, y)
    scores = 1 / (1 + np.exp(-(x @ weights + bias)))
    threshold = float(np.quantile(scores[y == 0], 1 - FALSE_ALARMS))
    np.savez(BUILT / "grounded.npz", weights=weights, bias=np.array(bias), threshold=np.array(threshold))
    tx, ty = rows(read("test"), encode)
    told = 1 / (1 + np.exp(-(tx @ weights + bias)))
    sys.stdout.write(
        f"grounded: {len(y)} training pairs, threshold {threshold:.2f}; test AUROC {auroc(ty, told):.3f} "
        f"(coverage alone {auroc(ty, -tx[:, 0]):.3f}), recall {np.mean(told[ty == 1] >= threshold):.2f}, "
        f"false alarms {np.mean(told[ty == 0] >= threshold):.2f} of {len(ty)} pairs\n"
    )


if __name__ == "__main__":
    main()
