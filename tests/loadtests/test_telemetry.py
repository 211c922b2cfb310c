"""The cost of telemetry is measured with the gateway's own objects: what is timed does what a request does."""

from __future__ import annotations

from app.cells import AT_A_TIME
from app.telemetry import ATTEMPTS, PER_CHUNK, REQUESTS
from loadtests.telemetry import chunk, parts, request, timed


async def test_a_turn_is_a_whole_request() -> None:
    """One outcome, one attempt; a chunk is counted, but for the last few; times come out above nothing."""
    made = parts()
    telemetry = made.recorder._telemetry
    for _ in range(5):
        request(made)
    assert timed(chunk(made), 100) > 0
    made.log.close()
    held = {series.metric: values for series, values in telemetry.cells.read()}
    assert (held[REQUESTS.name], held[ATTEMPTS.name]) == ((5.0,), (5.0,))
    assert 300 - AT_A_TIME <= sum(held[PER_CHUNK.name][:-1]) <= 300
