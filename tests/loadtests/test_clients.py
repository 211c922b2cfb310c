"""The comparison of upstream clients runs and prints a figure for each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_it_prints_two_rows() -> None:
    """Both clients answer, and both have a positive cost."""
    command = [sys.executable, "loadtests/clients.py", "--requests", "32", "--streams", "16"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
    rows = [line.split("|")[2:4] for line in printed.splitlines() if line.startswith(("| own", "| httpx2"))]
    assert len(rows) == 2
    assert all(float(cell) > 0 for row in rows for cell in row)
