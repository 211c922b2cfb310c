"""One fake upstream for all of its own tests; each finds it as new, and fails if it leaves a violation unread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.upstream import Upstream
from tests.upstream.client import Client


@pytest.fixture(scope="package")
def running() -> Iterator[Upstream]:
    """The process."""
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(running: Upstream) -> Iterator[Upstream]:
    """The process, reset."""
    running.reset()
    yield running
    running.check()


@pytest.fixture
def client(upstream: Upstream) -> Iterator[Client]:
    """A connection to it."""
    with Client(upstream) as connection:
        yield connection
