"""A few of the generated streams: no forbidden character leaves, and nothing else is altered."""

from __future__ import annotations

import random

import pytest

from scripts.safety_streams import SPANS, one, stage

GUARDS = {action: stage(action) for action in ("block", "redact")}


@pytest.mark.parametrize("action", GUARDS)
@pytest.mark.parametrize("kind", SPANS)
async def test_nothing_forbidden_leaves(kind: str, action: str) -> None:
    """Whatever is cut where, in any choice, in arguments, in reasoning; the command runs ten thousand."""
    for seed in range(12):
        assert await one(kind, action, random.Random(seed), GUARDS[action]) == (0, 0), seed
