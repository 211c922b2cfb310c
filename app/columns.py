"""Tables as the command line prints them: columns as wide as their longest cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def columns(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """The named values of every row, under a head; no trailing spaces, no newline at the end."""
    cells = [tuple(names), *(tuple(str(row[name]) for name in names) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)
