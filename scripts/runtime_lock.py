"""What of requirements.lock the gateway needs to run: `python scripts/runtime_lock.py requirements.lock`.

uv notes beside each package on whose behalf it is there; those that only the dev group asks for are left out. Used by
the Dockerfile; needs nothing but Python.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PROJECT = "sluicegate (pyproject.toml)"
_NAME = re.compile(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==", re.MULTILINE)


def entries(lock: str) -> dict[str, str]:
    """The lock's entries by name, each with its hashes and notes."""
    starts = [(match[1], match.start()) for match in _NAME.finditer(lock)]
    ends = [start for _, start in starts[1:]] + [len(lock)]
    return {name: lock[start:end] for (name, start), end in zip(starts, ends, strict=True)}


def parents(entry: str) -> set[str]:
    """On whose behalf a package is there."""
    notes = entry.partition("# via")[2]
    return {line.strip(" #\n") for line in notes.splitlines() if line.strip(" #")}


def runtime(lock: str) -> str:
    """The entries that the project itself asks for, and all that those ask for."""
    found = entries(lock)
    wanted = {name for name, entry in found.items() if PROJECT in parents(entry)}
    while more := {name for name, entry in found.items() if parents(entry) & wanted} - wanted:
        wanted |= more
    return "".join(entry for name, entry in found.items() if name in wanted)


if __name__ == "__main__":
    sys.stdout.write(runtime(Path(sys.argv[1]).read_text(encoding="utf-8")))
