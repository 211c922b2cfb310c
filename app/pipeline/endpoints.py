"""Which replica gets the next attempt: least in flight among those that are up. Health is kept across reloads.

An endpoint leaves on a failed connection, a failed probe or three 5xx in a row. It comes back on trial: after a pause
that doubles with each failure (1 s to 30 s), and where a health path is configured after a probe that answered 200,
one request is let through, and its success ends the exile. A 200 from `/health` alone is not enough: a draining
vLLM answers it while chat fails.
"""

from __future__ import annotations

from collections.abc import Callable

from app.exchange import Endpoint
from app.table import Deployment

STRIKES = 3
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0


class EndpointState:
    """What this worker knows about one address."""

    __slots__ = ("down_since", "endpoint", "hard", "in_flight", "on_trial", "pause", "retry_at", "strikes")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.in_flight = 0
        self.strikes = 0
        self.down_since: float | None = None
        self.hard = False
        """Down because nothing answers there, not only because answers were bad."""
        self.retry_at = 0.0
        self.pause = 0.0
        self.on_trial = False

    @property
    def up(self) -> bool:
        """Whether requests may go there freely."""
        return self.down_since is None

    def succeeded(self) -> None:
        """A request was answered: whatever was held against the endpoint is forgotten."""
        self.strikes = 0
        self.down_since = None
        self.pause = 0.0
        self.on_trial = False

    def failed(self, now: float, *, hard: bool) -> None:
        """A connection or probe failed (`hard`), or an answer was a 5xx."""
        self.strikes += 1
        if not hard and not self.on_trial and self.strikes < STRIKES:
            return
        self.hard = hard
        self.on_trial = False
        self.pause = min(max(self.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        self.retry_at = now + self.pause
        if self.down_since is None:
            self.down_since = now


class Endpoints:
    """The states of all endpoints, found by address."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._states: dict[Endpoint, EndpointState] = {}
        self._groups: dict[str, tuple[Deployment, tuple[EndpointState, ...]]] = {}
        self._turn = 0

    def state(self, endpoint: Endpoint) -> EndpointState:
        """The state of an address, made on first sight."""
        state = self._states.get(endpoint)
        if state is None:
            state = self._states[endpoint] = EndpointState(endpoint)
        return state

    def choose(self, deployment: Deployment, tried: set[Endpoint], *, last_resort: bool) -> EndpointState | None:
        """The endpoint for the next attempt, or None.

        `last_resort` also takes endpoints that are down, first those that only gave bad answers: with nowhere else to
        go, one more try costs the caller nothing. Ties go round.
        """
        states = self._group(deployment)
        if len(states) == 1 and states[0].down_since is None and not tried:
            return states[0]
        best: EndpointState | None = None
        self._turn += 1
        for place in range(len(states)):
            state = states[(self._turn + place) % len(states)]
            usable = state.endpoint not in tried and (state.up or self._on_trial(state, deployment))
            if usable and (best is None or state.in_flight < best.in_flight):
                best = state
        if best is None and last_resort:
            rest = (state for state in states if state.endpoint not in tried)
            best = min(rest, key=lambda state: (state.hard, state.in_flight), default=None)
        return best

    def _group(self, deployment: Deployment) -> tuple[EndpointState, ...]:
        """The states of a deployment's endpoints, looked up once per table."""
        held = self._groups.get(deployment.name)
        if held is None or held[0] is not deployment:
            held = deployment, tuple(self.state(endpoint) for endpoint in deployment.endpoints)
            self._groups[deployment.name] = held
        return held[1]

    def _on_trial(self, state: EndpointState, deployment: Deployment) -> bool:
        """Whether a request may try an endpoint that is down. With a health path the prober opens the trial."""
        if deployment.health is None and not state.on_trial and self._clock() >= state.retry_at:
            state.on_trial = True
            return True
        return state.on_trial and state.in_flight == 0

    def retain(self, endpoints: set[Endpoint]) -> None:
        """Forget addresses that no table names any more and nothing uses."""
        gone = [
            endpoint for endpoint, state in self._states.items() if endpoint not in endpoints and state.in_flight == 0
        ]
        for endpoint in gone:
            del self._states[endpoint]
