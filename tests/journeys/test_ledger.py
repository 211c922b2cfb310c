"""The ledger against the fake upstream's own log: every request once, through kill -9 and database outages."""

from __future__ import annotations

import pytest

from tests.proofs.crashes import killed, outage
from tests.support.upstream import Upstream


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fsync", ["grouped", "always"])
async def test_kill_9_under_load_loses_no_request(upstream: Upstream, fsync: str) -> None:
    """Two kills: each request that the upstream saw is there once, exact where its caller was answered."""
    books = await killed(upstream, 2, fsync)
    assert books.exact > 0


@pytest.mark.timeout(240)
async def test_requests_do_not_wait_for_the_database(upstream: Upstream) -> None:
    """It is stopped and started again: callers notice nothing, the ledger has every request once."""
    await outage(upstream, 3)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_more_kills_lose_no_request(upstream: Upstream) -> None:
    """The same, ten times; `make prove WHAT=crashes` kills fifty times."""
    await killed(upstream, 10, "grouped")


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_half_a_minute_without_database(upstream: Upstream) -> None:
    """The same for 30 s."""
    await outage(upstream, 30)
