"""Which replica gets the next attempt: least in flight among those that are up. Health is kept across reloads.

An endpoint leaves on a failed connection, on a health path that answers anything but 200 (or twice in a row nothing in
time), or on three 5xx in a row. A probe that answers 200 brings it back, but not from its 5xx: a draining vLLM answers
it while chat fails. From those, and where there is no health path, it comes back on trial: after a pause that doubles
with each failure (1 s to 30 s) one request at a time is let through, and the first answer ends the exile.
"""

from __future__ import annotations

from collections.abc import Callable

from app.exchange import Endpoint
from app.table import Deployment

STRIKES = 3
MISSES = 2
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0


class EndpointState:
    """What this worker knows about one address."""

    __slots__ = (
        "asleep", "endpoint", "in_flight", "missed", "on_trial", "pause", "retry_at", "strikes", "trials", "unreached",
        "up",
    )  # fmt: skip

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.in_flight = 0
        self.up = True
        """Whether requests may go there freely."""
        self.unreached = False
        """Down because nobody answers there, or the health path says so; else because of 5xx."""
        self.asleep = False
        """Whether the engine says of itself that it sleeps: its health path answers 200 all the same."""
        self.strikes = 0
        self.missed = 0
        self.pause = 0.0
        self.retry_at = 0.0
        self.on_trial = False
        """Down, but a probe since has answered 200."""
        self.trials = 0
        """Attempts in flight that began while it was down."""

    def answered(self) -> None:
        """A request was answered, and not with a 5xx: whatever was held against the endpoint is forgotten."""
        self.strikes = 0
        self.missed = 0
        if not self.up:
            self._return()

    def erred(self, now: float) -> None:
        """An answer was a 5xx, or there was none: the third in a row counts, and any while it is down."""
        self.strikes += 1
        if self.strikes >= STRIKES or not self.up:
            self._leave(now, unreached=False)

    def unreachable(self, now: float) -> None:
        """No connection, or a health path that does not answer 200."""
        self._leave(now, unreached=True)

    def silent(self, now: float) -> None:
        """A probe was not answered in time. Once is chance on a busy machine, the more so while requests succeed."""
        self.missed += 1
        if self.missed >= MISSES or not self.up:
            self._leave(now, unreached=True)

    def healthy(self, now: float) -> None:
        """A probe was answered 200."""
        self.missed = 0
        if self.up or self.asleep:
            return
        if self.unreached:
            self._return()
        elif now >= self.retry_at:
            self.on_trial = True

    def sleeps(self, now: float, *, asleep: bool) -> None:
        """What the engine's metrics say; one that woke up comes back with the next probe."""
        self.asleep = asleep
        if asleep:
            self._leave(now, unreached=True)

    def _leave(self, now: float, *, unreached: bool) -> None:
        self.unreached = unreached
        if not self.up and now < self.retry_at:
            return  # of a request that began before it left, or beside the trial: no news
        self.up = False
        self.on_trial = False
        self.pause = min(max(self.pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
        self.retry_at = now + self.pause

    def _return(self) -> None:
        self.up = True
        self.on_trial = False
        self.strikes = 0
        self.pause = 0.0


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
        if len(states) == 1 and states[0].up and not tried:
            return states[0]
        best: EndpointState | None = None
        self._turn += 1
        for place in range(len(states)):
            state = states[(self._turn + place) % len(states)]
            usable = state.endpoint not in tried and (state.up or (not state.trials and self._due(state, deployment)))
            if usable and (best is None or state.in_flight < best.in_flight):
                best = state
        if best is None and last_resort:
            rest = (state for state in states if state.endpoint not in tried)
            best = min(rest, key=lambda state: (state.unreached, state.in_flight), default=None)
        return best

    def may_serve(self, deployment: Deployment) -> bool:
        """Whether the deployment has an endpoint that is up or due for a trial."""
        return any(state.up or self._due(state, deployment) for state in self._group(deployment))

    def _group(self, deployment: Deployment) -> tuple[EndpointState, ...]:
        """The states of a deployment's endpoints, looked up once per table."""
        held = self._groups.get(deployment.name)
        if held is None or held[0] is not deployment:
            held = deployment, tuple(self.state(endpoint) for endpoint in deployment.endpoints)
            self._groups[deployment.name] = held
        return held[1]

    def _due(self, state: EndpointState, deployment: Deployment) -> bool:
        """Whether a request may try an endpoint that is down. With a health path, that is for the prober to say."""
        return state.on_trial if deployment.health is not None else self._clock() >= state.retry_at

    def retain(self, endpoints: set[Endpoint]) -> None:
        """Forget addresses that no table names any more and nothing uses."""
        gone = [
            endpoint for endpoint, state in self._states.items() if endpoint not in endpoints and state.in_flight == 0
        ]
        for endpoint in gone:
            del self._states[endpoint]
