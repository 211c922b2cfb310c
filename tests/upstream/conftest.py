"""A connection to the session's fake upstream, which each of its own tests finds as new."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.upstream import Upstream
from tests.upstream.client import Client


@pytest.fixture
def client(upstream: Upstream) -> Iterator[Client]:
    """One connection."""
    with Client(upstream) as connection:
        yield connection
