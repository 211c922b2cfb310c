"""What a guard found in one request: written by stages 6 and 9, read by `record` and by whoever answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from app.exchange import JsonObject


class Ask(Protocol):
    """Makes calls of the gateway's own, on the account of the request that is looked at."""

    async def __call__(self, model: str, body: JsonObject, purpose: str) -> JsonObject:
        """The answer, whole, in OpenAI's shape. Raises `GatewayError`."""


class Hit(NamedTuple):
    """A category that was found, by which detector, and what came of it: block, redact, annotate or log."""

    stage: str
    category: str
    severity: int
    action: str
    detector: str


class Report:
    """The findings of one guarded request."""

    __slots__ = ("ask", "beside", "cut", "failures", "guard", "held", "hits", "looked", "refused")

    def __init__(self, guard: str) -> None:
        self.guard = guard
        self.ask: Ask | None = None
        """What detectors ask that are models of this gateway; None where there is no account for it."""
        self.beside: Callable[[], None] | None = None
        """Ends what goes on beside the request."""
        self.hits: dict[Hit, int] = {}
        """What was found, and how often."""
        self.failures: dict[tuple[str, str], int] = {}
        """Detectors that did not answer, by name and reason: `error` or `timeout`."""
        self.refused = False
        """Whether the prompt was blocked."""
        self.cut = False
        """Whether the completion was stopped."""
        self.looked: list[tuple[str, float, float]] = []
        """Stage, and when looking began and ended (`perf_counter`; 0: with the request)."""
        self.held = 0.0
        """Seconds: the longest that text of the answer was held back."""

    def close(self) -> None:
        """The request has ended. Nothing here refers back to it any more: it is free at once, not with the garbage."""
        if self.beside is not None:
            self.beside()
        self.ask = self.beside = None

    def add(self, hit: Hit) -> None:
        """Something was found."""
        self.hits[hit] = self.hits.get(hit, 0) + 1

    def fail(self, detector: str, reason: str) -> None:
        """A detector did not answer."""
        key = (detector, reason)
        self.failures[key] = self.failures.get(key, 0) + 1
