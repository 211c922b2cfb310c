"""The script that measures what `rules` and `pii` cost: it runs, and tells every language."""

from __future__ import annotations

import asyncio

import pytest

from scripts.safety_cost import TEXTS, run


def test_it_tells_every_language(capsys: pytest.CaptureFixture[str]) -> None:
    """Four figures each; how large they are says nothing here."""
    asyncio.run(run(1))
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == list(TEXTS)
    assert all(float(figure) > 0 for row in rows for figure in row.split()[1:])
