"""Whatever a caller or an upstream says, no gateway fails by itself, and a compiled one does what Python's would."""

from __future__ import annotations

import asyncio

import pytest

from app.compiled import SOURCES, home, look
from tests.proofs import alike


@pytest.mark.timeout(120)
@pytest.mark.parametrize("captured", [False, True])
def test_gateways_do_the_same_whatever_is_said(*, captured: bool) -> None:
    """Good requests and answers, and odd ones: each of the outcomes that there are comes about."""
    result = asyncio.run(alike.run(1500, seed=11 + captured, captured=captured))
    assert result.differences == []
    assert result.faults == []
    assert result.statuses.keys() == {200, 400, 401, 403, 404, 413, 422, 502}
    assert result.states == (look(home(), SOURCES)[0], "no")
