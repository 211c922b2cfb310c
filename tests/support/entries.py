"""Ledger entries for tests, and how they stand in a spool."""

from __future__ import annotations

from collections.abc import Awaitable

from app.entry import LONG, METHODS, OUTCOMES, Entry, shared
from app.pipeline.ledger import JournalFailed

ENTRY = Entry(
    request_id="w1-7",
    at=1_800_000_000.25,
    tenant="search-team",
    key="ci",
    model="chat",
    deployment="llama-v1",
    arm="stable",
    operation="chat",
    purpose="request",
    outcome="ok",
    method="exact",
    charged_tokens=150,
    charged_nano=90 * 50 + 10 * 10 + 50 * 80,
    input_tokens=100,
    output_tokens=50,
    cached_input_tokens=10,
    price_input=50_000,
    price_output=80_000,
    price_cached_input=10_000,
    first_token_seconds=0.5,
    seconds=1.5,
)


def encoded(entry: Entry, bound: tuple[int, int] = (1000, 1000)) -> tuple[bytes, bytes]:
    """The two parts of its record; money is left out, as always."""
    first = -1.0 if entry.first_token_seconds is None else entry.first_token_seconds
    kind = OUTCOMES.index(entry.outcome), METHODS.index(entry.method)
    usage = entry.usage
    numbers = LONG.pack(
        2, *kind, entry.at, entry.seconds or 0.0, first, entry.attempts, usage.input_tokens, usage.output_tokens,
        *bound, usage.cached_input_tokens, usage.cache_write_tokens, usage.reasoning_tokens, entry.images,
        entry.earlier_tokens, entry.earlier_nano,
    )  # fmt: skip
    names = entry.tenant, entry.key, entry.model, entry.deployment, entry.arm, entry.operation, entry.purpose
    return numbers, shared((*names, entry.count_method, entry.template), entry.prices)


class Journal:
    """Keeps what it is told; out of order where `fails`."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, bytes, bytes]] = []
        self.fails = False

    def open(self, name: str, numbers: bytes, shared: bytes) -> Awaitable[None] | None:
        """As Journal's."""
        if self.fails:
            raise JournalFailed("no room")
        self.told.append(("open", name, numbers, shared))
        return None

    def close(self, name: str, numbers: bytes, shared: bytes) -> Awaitable[None] | None:
        """As Journal's."""
        self.told.append(("close", name, numbers, shared))
        return None
