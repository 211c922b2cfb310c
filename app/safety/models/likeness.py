"""How alike two texts are in what they mean, asked of the detector process: never on a request's path."""

from __future__ import annotations

import asyncio

from app.safety.detector import DetectorFailure, Inspection, Passage
from app.safety.models.client import Client

LIKENESS = "likeness"
"""What the detector process is asked for; no guard can name it."""
WITHIN = 5.0
"""Seconds after which nobody waits any more."""


class Likeness:
    """Asks for one pair of texts at a time, so that guards' questions wait for one comparison at most."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._turn = asyncio.Lock()

    async def __call__(self, one: str, other: str) -> float | None:
        """The cosine of both texts' embeddings, -1 to 1; None where a text is blank or nobody can tell in time."""
        if not one.strip() or not other.strip():
            return None
        pair = (Passage(one, "assistant"), Passage(other, "assistant"))
        try:
            async with asyncio.timeout(WITHIN), self._turn:
                found = await self._client.ask(LIKENESS, WITHIN, Inspection("completion", pair))
        except (DetectorFailure, TimeoutError, OSError):
            return None
        return next((finding.score for finding in found), None)
