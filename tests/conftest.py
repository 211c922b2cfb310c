"""What holds for every test: no deadlines in hypothesis, no run that never ends, no process left behind."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

import tests.support.interpreted  # noqa: F401  # before anything of the gateway is imported

# isort: split
from tests.support.gateway import Gateway, one_each
from tests.support.upstream import Upstream

# The machine may have two cores and other work: how long one example takes says nothing about the code.
hypothesis.settings.register_profile("sluicegate", deadline=None)
hypothesis.settings.load_profile("sluicegate")

STDERR = pytest.StashKey[int]()


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


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real stderr at hand: while a test runs, descriptor 2 is captured."""
    config.stash[STDERR] = os.dup(2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """End the whole run, with every stack, where a test outlives its timeout twice over.

    pytest-timeout's signal raises an exception in the test. Code that catches it goes on: hypothesis does, and runs
    a test that never ends once more.
    """
    mark = item.get_closest_marker("timeout")
    seconds = float(mark.args[0] if mark else item.config.getini("timeout"))
    faulthandler.dump_traceback_later(3 * seconds, exit=True, file=item.config.stash[STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


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


@pytest.fixture(scope="session")
def tight(upstream_process: Upstream) -> Iterator[Gateway]:
    """One gateway for the session, with bounds so tight that tests can wait for them."""
    server = {
        "header_timeout": 0.5,
        "body_timeout": 0.6,
        "keep_alive": 0.8,
        "max_body_bytes": 65_536,
        "max_in_flight": 4,
    }
    behaviours = ["answer-200+pace-20ms", "answer-2+slow-1s", "slow-300ms", "hangs", "fail-400", "fail-500", "bad-json"]
    with Gateway(one_each(upstream_process.url, behaviours, sections={"server": server})) as running:
        yield running
