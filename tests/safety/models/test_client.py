"""A worker's line to the detector process."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from app.safety.detector import DetectorFailure
from app.safety.models import client as client_module
from app.safety.models.client import Client
from tests.safety.models.lines import PROMPT, Models, serving


async def test_a_process_that_is_not_there_fails_at_once(tmp_path: Path) -> None:
    """Nobody waits for it, and it is not dialled for every request."""
    client = Client(tmp_path / "none")
    began = time.monotonic()
    for _ in range(50):
        with pytest.raises(DetectorFailure, match="not running"):
            await client.ask("classifier", 5, PROMPT)
    assert time.monotonic() - began < 5
    await client.aclose()


async def test_many_ask_over_one_connection(tmp_path: Path) -> None:
    """Those who come before it stands wait for it together."""
    models = Models()
    async with serving(tmp_path / "s", models, most=100):
        client = Client(tmp_path / "s")
        found = await asyncio.gather(*(client.ask("classifier", 5, PROMPT) for _ in range(40)))
        assert len(found) == 40
        assert len({number for batch in models.batches for number in batch}) == 40
        await client.aclose()


async def test_a_process_that_dies_fails_those_who_wait_and_comes_back(tmp_path: Path) -> None:
    """The next question goes to its successor."""
    models = Models()
    client = Client(tmp_path / "s")
    models.may.clear()
    async with serving(tmp_path / "s", models):
        waiting = asyncio.create_task(client.ask("classifier", 5, PROMPT))
        while not models.batches:  # noqa: ASYNC110 - a thread brings it about
            await asyncio.sleep(0.01)
        line = client._line
        assert line is not None
        assert line._transport is not None
        line._transport.abort()
        with pytest.raises(DetectorFailure, match="has gone"):
            await waiting
    (tmp_path / "s").unlink(missing_ok=True)
    async with serving(tmp_path / "s", Models()):
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await client.ask("classifier", 5, PROMPT)
                    break
                except DetectorFailure:
                    await asyncio.sleep(0.05)
        await client.aclose()


async def test_questions_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound one fails at once; places become free again, those of cancelled ones too."""
    monkeypatch.setattr(client_module, "MOST_WAITING", 3)
    models = Models()
    async with serving(tmp_path / "s", models):
        client = Client(tmp_path / "s")
        models.may.clear()
        tasks = [asyncio.create_task(client.ask("classifier", 5, PROMPT)) for _ in range(3)]
        await asyncio.sleep(0.2)
        with pytest.raises(DetectorFailure, match="too much"):
            await client.ask("classifier", 5, PROMPT)
        tasks.pop().cancel()
        await asyncio.sleep(0.05)
        tasks.append(asyncio.create_task(client.ask("classifier", 5, PROMPT)))
        models.may.set()
        await asyncio.gather(*tasks)
        await client.aclose()
