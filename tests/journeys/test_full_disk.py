"""The disk on which workers keep their metrics is full: they serve on, and nothing that they counted is lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.support.gateway import Gateway, one_each
from tests.support.upstream import ROOT, Upstream

pytestmark = pytest.mark.timeout(120)
BEHAVIOURS = [f"answer-{count}@{count}" for count in range(1, 9)]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB; skipped where mounting is not allowed (`test_cells.py` has the same fault without)."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a file system is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take what room there is; returns the file to remove."""
    path = folder / "ballast"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path


def test_workers_serve_on_and_lose_no_count(small: Path, upstream: Upstream) -> None:
    """New series find no room for their names; they are seen once there is some."""
    gateway = Gateway(one_each(upstream.url, BEHAVIOURS), arguments=["--workers", "2"])
    gateway.environ["TMPDIR"] = str(small)
    with gateway:
        gateway.until(lambda: set(gateway.workers()) == {0, 1}, seconds=60)
        assert gateway.chat().status_code == 200
        workers = gateway.workers()
        ballast = fill(small)
        assert os.statvfs(small).f_bavail == 0
        for _ in range(3):
            for behaviour in BEHAVIOURS:
                assert gateway.chat(behaviour).status_code == 200
        assert gateway.ops("/metrics").status_code == 200
        assert gateway.workers() == workers
        assert gateway.outcomes()["ok"] < 25  # some have names that are not written yet
        ballast.unlink()
        gateway.until(lambda: gateway.outcomes().get("ok") == 25)
        assert gateway.value("sluicegate_dropped_total", what="metric_series") == 0


def test_no_room_at_the_start_is_told(small: Path, tmp_path: Path) -> None:
    """It does not begin, and says where the room is missing."""
    ballast = fill(small)
    os.truncate(ballast, ballast.stat().st_size - 65536)  # with no room at all, Python takes another folder
    stores = {"database": "postgresql+asyncpg://nobody@127.0.0.1:1/none", "spool": str(tmp_path / "spool")}
    file = tmp_path / "config.yaml"
    file.write_bytes(orjson.dumps(one_each("http://127.0.0.1:1", ["echo"], sections={"stores": stores})))
    keys = dict.fromkeys(("TEST_KEY", "TEST_LIMITED_KEY", "TEST_ADMIN_KEY", "TEST_VIEWER_KEY"))
    environ = {**os.environ, **{name: f"sk-{name}" for name in keys}, "TMPDIR": str(small)}
    command = [sys.executable, "-m", "app.cli", "serve", "--config", str(file), "--workers", "2"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 1
    assert re.search(r"no room for metrics: \S+\.cells needs 2 MiB \(No space left on device\)", done.stderr)
