"""The figures of an evaluation, from labels and scores."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]


class Verdicts(NamedTuple):
    """Precision, recall, F1 and the false-positive rate of yes-or-no answers."""

    precision: float
    recall: float
    f1: float
    false_positives: float


def verdicts(labels: Numbers, said: Numbers) -> Verdicts:
    """Compare what is with what was said. A figure without anything to count is NaN."""
    is_so, yes = labels.astype(bool), said.astype(bool)
    hits, wrong = int((is_so & yes).sum()), int((~is_so & yes).sum())
    precision = _share(hits, hits + wrong)
    recall = _share(hits, int(is_so.sum()))
    f1 = 2 * precision * recall / (precision + recall) if hits else (0.0 if is_so.any() else float("nan"))
    return Verdicts(precision, recall, f1, _share(wrong, int((~is_so).sum())))


def auroc(labels: Numbers, scores: Numbers) -> float:
    """The chance that a positive is scored above a negative; ties count half."""
    is_so = labels.astype(bool)
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[inverse]
    positives, negatives = int(is_so.sum()), int((~is_so).sum())
    if not positives or not negatives:
        return float("nan")
    return float((ranks[is_so].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def auprc(labels: Numbers, scores: Numbers) -> float:
    """Average precision: the area under precision over recall, without interpolation."""
    is_so = labels.astype(bool)
    if not is_so.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    sorted_labels, sorted_scores = is_so[order], scores[order]
    last = np.append(np.flatnonzero(np.diff(sorted_scores)), len(order) - 1)
    hits = np.cumsum(sorted_labels)[last]
    precision = hits / (last + 1)
    recall = hits / is_so.sum()
    return float((np.diff(recall, prepend=0) * precision).sum())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
