"""Admission: so many at a time and no more, and a place is given back however its request ends."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from app.errors import OVERLOADED, GatewayError, Outcome
from app.pipeline.admit import RETRY_AFTER, Admission
from tests.pipeline.parts import state, table


def admission(limit: int) -> Admission:
    """An admission with so many places."""
    return Admission(state({"server.max_in_flight": limit}))


def test_the_last_place_is_given_and_no_more() -> None:
    """The request over the limit is shed with the contract's code, and says when to come back."""
    places = admission(2)
    with places, places:
        with pytest.raises(GatewayError) as shed, places:
            pass
        assert places.in_flight == 2
    assert (shed.value.code, shed.value.status, shed.value.outcome) == (OVERLOADED, 503, Outcome.OVERLOADED)
    assert shed.value.retry_after == RETRY_AFTER


def test_whoever_is_shed_takes_no_place() -> None:
    """Refused requests do not count, so that overload ends by itself."""
    places = admission(1)
    with places:
        for _ in range(5):
            with pytest.raises(GatewayError), places:
                pass
    with places:
        assert places.in_flight == 1
    assert places.in_flight == 0


@pytest.mark.parametrize("how", [GatewayError(OVERLOADED, "x"), GeneratorExit(), KeyboardInterrupt(), ValueError("x")])
def test_a_place_is_given_back_however_the_request_ends(how: BaseException) -> None:
    """Errors, cancellation and bugs give it back all the same."""
    places = admission(1)
    with pytest.raises(type(how)), places:
        raise how
    assert places.in_flight == 0


def test_a_reload_changes_the_limit_at_once() -> None:
    """Whoever is inside stays; the new limit holds for whoever comes."""
    running = state({"server.max_in_flight": 3})
    places = Admission(running)
    with ExitStack() as inside:
        for _ in range(3):
            inside.enter_context(places)
        running.table = table({"server.max_in_flight": 1})
        with pytest.raises(GatewayError), places:
            pass
        running.table = table({"server.max_in_flight": 4})
        with places:
            assert places.in_flight == 4
