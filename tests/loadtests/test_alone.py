"""A worker for a script: it serves what it was asked for, and nothing is left of it."""

from __future__ import annotations

import resource
from pathlib import Path

from loadtests.alone import worker


def test_it_serves_and_goes() -> None:
    """And the limit of descriptors is what it was."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with worker(["answer-4"], {"max_in_flight": 7}) as gateway:
        assert gateway.memory().pss > 0
        pid = gateway.server.pid
    assert not Path(f"/proc/{pid}").exists()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
