"""A worker asks how alike two texts are."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.safety.models import likeness as module
from app.safety.models.client import Client
from app.safety.models.engine import Engine
from app.safety.models.heads import Heads
from app.safety.models.likeness import Likeness
from tests.safety.models.lines import Models, arrays, serving
from tests.safety.models.test_meaning import Letters


class Embedding(Models):
    """A detector process's work, with an encoder that counts letters."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = Engine(Heads(arrays()), {"use": Letters()}, str).answer  # type: ignore[method-assign]


async def test_the_process_tells_the_cosine(tmp_path: Path) -> None:
    """Over the socket, also of texts that are no good Unicode."""
    async with serving(tmp_path / "s", Embedding()):
        client = Client(tmp_path / "s")
        alike = Likeness(client)
        assert await alike("aab", "aba") == pytest.approx(1.0)
        assert await alike("a", "b\ud800") == pytest.approx(0.0)
        assert await alike("a", " ") is None
        await client.aclose()


async def test_nobody_is_there(tmp_path: Path) -> None:
    """Then nobody can tell."""
    client = Client(tmp_path / "none")
    assert await Likeness(client)("a", "b") is None
    await client.aclose()


async def test_one_at_a_time_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards' questions wait for one comparison at most; a comparison is given up in time."""
    monkeypatch.setattr(module, "WITHIN", 0.2)
    models = Models()
    models.may.clear()
    async with serving(tmp_path / "s", models):
        client = Client(tmp_path / "s")
        alike = Likeness(client)
        assert await asyncio.gather(*(alike("a", "b") for _ in range(3))) == [None, None, None]
        assert len(models.seen) == 1
        await client.aclose()
