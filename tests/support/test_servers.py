"""A server that does not start leaves nothing behind: no folder, no process, no warning in somebody else's test."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Gateway, one_each
from tests.support.postgres import Postgres
from tests.support.prometheus import Prometheus
from tests.support.redis import Redis

WHOLE = one_each("http://127.0.0.1:9", ["echo"])
SEVERAL = {**WHOLE, "server": {"workers": 2}}


@pytest.mark.parametrize(
    "make",
    [
        Postgres,
        Redis,
        lambda: Prometheus("127.0.0.1:9"),
        lambda: Gateway(WHOLE, arguments=["--no-such-option"]),
        lambda: Gateway(SEVERAL),
    ],
    ids=["postgres", "redis", "prometheus", "gateway", "a gateway's own postgres"],
)
def test_what_does_not_start_leaves_nothing_behind(
    make: Callable[[], AbstractContextManager[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether making it fails, or starting it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("tests.support.postgres._programs", lambda _: tmp_path / "absent")
    monkeypatch.setattr("tests.support.prometheus.installed", lambda _: "/bin/false")
    monkeypatch.setenv("SLUICEGATE_TEST_REDIS", "/bin/false")
    with pytest.raises((AssertionError, OSError, subprocess.SubprocessError)), make():
        pass
    assert list(tmp_path.iterdir()) == []
