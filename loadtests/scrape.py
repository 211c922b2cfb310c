"""Reads Prometheus' text exposition: just enough of it for sums of whole numbers."""

from __future__ import annotations

import re
from collections import Counter

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def total(text: str, name: str) -> int:
    """The sum of a metric over all its label sets; 0 where it is not exposed."""
    return sum(total_by(text, name, "").values())


def total_by(text: str, name: str, label: str) -> Counter[str]:
    """The sums of a metric by the values of one label."""
    found: Counter[str] = Counter()
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        if match is not None and match[1] == name:
            labels = dict(_LABEL.findall(match[2] or ""))
            found[labels.get(label, "")] += round(float(match[3]))
    return found
