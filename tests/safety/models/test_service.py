"""The detector process, in the test's own loop and as a process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from app.safety.detector import DetectorFailure
from app.safety.models import service, wire
from app.safety.models.client import Client
from tests.safety.models.lines import PROMPT, Models, finding_of, serving
from tests.support.processes import ended


async def settled(condition: object) -> None:
    """Wait until a condition holds."""
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - another process, or a thread, brings it about
            await asyncio.sleep(0.01)


async def test_questions_that_wait_are_answered_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first goes alone; those that came meanwhile go in one batch, whoever asked, where batches are allowed."""
    monkeypatch.setattr(service, "MOST_TOGETHER", 4)
    models = Models()
    async with serving(tmp_path / "s", models):
        one, other = Client(tmp_path / "s"), Client(tmp_path / "s")
        models.may.clear()
        first = asyncio.create_task(one.ask("classifier", 5, PROMPT))
        await settled(lambda: models.batches)
        rest = [asyncio.create_task(client.ask("classifier", 5, PROMPT)) for client in (one, other, one)]
        await asyncio.sleep(0.1)
        models.may.set()
        assert await first == (finding_of(wire.Ask(0, "", 0, PROMPT)),)
        await asyncio.gather(*rest)
        assert [len(batch) for batch in models.batches] == [1, 3]
        await one.aclose()
        await other.aclose()


async def test_a_full_queue_is_said_at_once(tmp_path: Path) -> None:
    """While the models are busy, and no later than that."""
    models = Models()
    async with serving(tmp_path / "s", models, most=2):
        client = Client(tmp_path / "s")
        models.may.clear()
        first = asyncio.create_task(client.ask("classifier", 5, PROMPT))
        await settled(lambda: models.batches)
        queued = [asyncio.create_task(client.ask("classifier", 5, PROMPT)) for _ in range(2)]
        await asyncio.sleep(0.1)
        with pytest.raises(DetectorFailure, match="too much to do"):
            await client.ask("classifier", 5, PROMPT)
        models.may.set()
        await asyncio.gather(first, *queued)
        await client.aclose()


async def test_what_nobody_waits_for_is_not_computed(tmp_path: Path) -> None:
    """A question whose time is over, one that was cancelled, one whose worker is gone."""
    models = Models()
    async with serving(tmp_path / "s", models):
        client, leaving = Client(tmp_path / "s"), Client(tmp_path / "s")
        models.may.clear()
        first = asyncio.create_task(client.ask("classifier", 5, PROMPT))
        await settled(lambda: models.batches)
        late = asyncio.create_task(client.ask("classifier", 0.01, PROMPT))
        cancelled = asyncio.create_task(client.ask("classifier", 5, PROMPT))
        left = asyncio.create_task(leaving.ask("classifier", 5, PROMPT))
        await asyncio.sleep(0.2)
        cancelled.cancel()
        await leaving.aclose()
        with pytest.raises(DetectorFailure):
            await left
        await asyncio.sleep(0.1)
        models.may.set()
        await first
        assert await client.ask("classifier", 5, PROMPT)
        assert sum(map(len, models.batches)) == 2
        late.cancel()
        await client.aclose()


async def test_models_that_fail_are_told_and_asked_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log has the kind of the error and not its text, which may be part of a prompt."""
    models = Models()
    models.error = ValueError("a secret prompt")
    async with serving(tmp_path / "s", models):
        client = Client(tmp_path / "s")
        with pytest.raises(DetectorFailure, match="failed"):
            await client.ask("classifier", 5, PROMPT)
        models.error = None
        assert await client.ask("classifier", 5, PROMPT)
        await client.aclose()
    [record] = [one for one in caplog.records if one.message == "the models failed"]
    assert record.__dict__["error"] == "ValueError"
    assert "secret" not in caplog.text


async def test_who_talks_nonsense_is_cut_off(tmp_path: Path) -> None:
    """And nobody else."""
    models = Models()
    async with serving(tmp_path / "s", models):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(wire.frame(b"nonsense"))
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        client = Client(tmp_path / "s")
        assert await client.ask("classifier", 5, PROMPT)
        await client.aclose()


def test_the_process_ends_with_its_starter(tmp_path: Path) -> None:
    """It reads end-of-file on standard input, and does not outlive who started it."""
    command = [sys.executable, "-m", service.__name__, "--socket", str(tmp_path / "s"), "--profile", "tiny"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
        process.stdin.close()
        assert ended(process.pid, seconds=20)
