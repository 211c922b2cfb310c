"""Stage 3: is there room? Sheds load before anything is spent on the request."""

from __future__ import annotations

from types import TracebackType

from app.errors import OVERLOADED, GatewayError
from app.table import State

RETRY_AFTER = 1.0


class Admission:
    """Counts the requests between admission and their end in this worker, against `server.max_in_flight`."""

    __slots__ = ("_state", "in_flight")

    def __init__(self, state: State) -> None:
        self._state = state
        self.in_flight = 0

    def __enter__(self) -> None:
        """Take a place. Raises `GatewayError` `overloaded` when there is none."""
        limit = self._state.table.bounds.max_in_flight
        if self.in_flight >= limit:
            message = f"The gateway is serving as many requests as it may ({limit}). Try again shortly."
            raise GatewayError(OVERLOADED, message, retry_after=RETRY_AFTER)
        self.in_flight += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the place back."""
        self.in_flight -= 1
