"""What holds for every test: hypothesis without deadlines, and no process left behind at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.upstream import Upstream

# The machine may have two cores and other work: how long one example takes says nothing about the code.
hypothesis.settings.register_profile("sluicegate", deadline=None)
hypothesis.settings.load_profile("sluicegate")


def children() -> dict[int, str]:
    """The processes that this one has started and that still run, with their command lines (Linux only)."""
    own = Path("/proc/self/task")
    pids = [pid for task in own.glob("*/children") for pid in task.read_text().split()]
    return {int(pid): command(pid) for pid in pids}


def command(pid: str) -> str:
    """What a process runs; empty where it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run whose tests left a server behind."""
    if left := children():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print("\nprocesses left behind:", *(f"\n  {pid} {command}" for pid, command in left.items()))


@pytest.fixture(scope="session")
def upstream_process() -> Iterator[Upstream]:
    """One fake upstream for the session."""
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(upstream_process: Upstream) -> Iterator[Upstream]:
    """The session's fake upstream, fresh; a violation that it saw fails the test."""
    upstream_process.reset()
    yield upstream_process
    upstream_process.check()
