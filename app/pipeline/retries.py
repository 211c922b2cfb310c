"""How many retries a deployment may cost: 10 % of its traffic, so that retries never multiply an outage.

The idea is Finagle's and linkerd's retry budget: each request earns a tenth of a retry, each retry spends a whole one,
and a small float lets a quiet deployment retry at all.
"""

from __future__ import annotations

from app.telemetry import RETRIES_DENIED, Telemetry

EARNED = 0.1
FLOAT = 10.0
CEILING = 100.0


class RetryBudgets:
    """The balance of each deployment, by name."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._balances: dict[str, float] = {}
        self._telemetry = telemetry

    def earn(self, deployment: str) -> None:
        """A request has come."""
        self._balances[deployment] = min(self._balances.get(deployment, FLOAT) + EARNED, CEILING)

    def spend(self, deployment: str) -> bool:
        """Whether a retry may be made; if so it is paid for."""
        balance = self._balances.get(deployment, FLOAT)
        if balance < 1.0:
            self._telemetry.counter(RETRIES_DENIED, deployment).inc()
            return False
        self._balances[deployment] = balance - 1.0
        return True


class NoRetries(RetryBudgets):
    """For what is never sent twice."""

    def __init__(self) -> None:
        """Nothing is counted."""

    def earn(self, deployment: str) -> None:
        """A request has come, and earns nothing."""

    def spend(self, deployment: str) -> bool:  # noqa: ARG002 - the same for all
        """No."""
        return False
