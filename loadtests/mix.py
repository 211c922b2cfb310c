"""The soak's requests: what a day brings, at once. Every kind says how the gateway must answer and count it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from app.errors import Outcome
from loadtests.line import Answer, Leave, Shot
from loadtests.peers.sluicegate import Served
from loadtests.wire import request_bytes
from loadtests.workload import Door, chat

BROKEN_STREAM = -200
"""Stands for: HTTP 200, then an error event."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request, `weight` in a thousand.

    `model` is the upstream's behaviour, None where no model of that name is configured. `answers` tells how each
    status may end; a kind that leaves is `client_closed` and may not be answered at all.
    """

    name: str
    weight: int
    model: str | None
    answers: Mapping[int, Outcome] = field(default_factory=dict)
    stream: bool = False
    leave: Leave | None = None
    healthy: bool = True
    body: bytes | None = None
    key: str | None = None
    length: int | None = None


_OK = {200: Outcome.OK}
_BAD = {502: Outcome.UPSTREAM_ERROR}
_INVALID = Outcome.REFUSED_INVALID

KINDS = (
    Kind("whole", 500, "answer-64", _OK),
    Kind("stream", 200, "answer-16", _OK, stream=True),
    Kind("leaves-waiting", 30, "slow-10s", leave=Leave(seconds=0.03)),
    # A reset throws away what the gateway has not read yet: it has to be late enough for the request to be seen.
    Kind("resets-waiting", 10, "slow-10s", leave=Leave(seconds=0.5, reset=True)),
    Kind("leaves-stream", 35, "answer-200+pace-50ms", stream=True, leave=Leave(events=2)),
    Kind("resets-stream", 25, "answer-200+pace-50ms", stream=True, leave=Leave(events=2, reset=True)),
    Kind("fails", 20, "fail-500", _BAD, healthy=False),
    Kind("flaky", 30, "flaky-10-503", {**_OK, 503: Outcome.UPSTREAM_ERROR}, healthy=False),
    Kind("dies", 10, "dies", _BAD, healthy=False),
    Kind("dies-in-stream", 20, "dies-mid-stream", {BROKEN_STREAM: Outcome.UPSTREAM_ERROR}, stream=True, healthy=False),
    Kind("truncated", 10, "truncated", _BAD, healthy=False),
    Kind("error-first", 10, "error-event-first", {503: Outcome.UPSTREAM_ERROR}, stream=True, healthy=False),
    Kind("rate-limited", 10, "rate-limited-0", {429: Outcome.UPSTREAM_ERROR}, healthy=False),
    Kind("garbage", 10, "bad-json", _BAD, healthy=False),
    Kind("hangs", 5, "hangs", {504: Outcome.UPSTREAM_TIMEOUT}, healthy=False),
    Kind("rejected", 10, "fail-400", {400: Outcome.UPSTREAM_REJECTED}),
    Kind("no-json", 20, "echo", {400: _INVALID}, body=b'{"model": "no-json", "messages": ['),
    Kind("no-messages", 10, "echo", {400: _INVALID}, body=b'{"model": "no-messages"}'),
    Kind("no-model", 15, None, {404: _INVALID}),
    Kind("wrong-key", 15, "echo", {401: Outcome.REFUSED_AUTH}, key="sk-nobody"),
    Kind("too-large", 5, "echo", {413: _INVALID}, length=1 << 31),
)


def served(good: int, bad: int) -> list[Served]:
    """The gateway's models: sound ones at the upstream on port `good`, failing ones on port `bad`."""
    short = {"timeouts": {"connect": 2, "first_token": 0.05, "between_tokens": 0.05, "total": 0.05}}
    return [
        Served(kind.name, good if kind.healthy else bad, kind.model, short if kind.name == "hangs" else {})
        for kind in KINDS
        if kind.model is not None
    ]


def shot(kind: Kind, door: Door) -> Shot:
    """The request of a kind, ready to be sent."""
    if kind.key is not None:
        door = Door(door.host, door.port, (("authorization", f"Bearer {kind.key}"),))
    if kind.length is not None:
        # A body that is announced and never sent: the answer must not wait for it.
        headers = {"host": f"{door.host}:{door.port}", **dict(door.headers), "content-length": str(kind.length)}
        return Shot(request_bytes("POST", door.path, headers), kind.name, last=True)
    body = chat(kind.name, stream=kind.stream) if kind.body is None else kind.body
    return door.shot(body, kind=kind.name, leave=kind.leave)


def shots(door: Door, count: int, seed: int) -> Iterator[Shot]:
    """So many requests, mixed by the kinds' weights; the same seed gives the same sequence."""
    ready = [shot(kind, door) for kind in KINDS]
    weights = [kind.weight for kind in KINDS]
    rng = random.Random(seed)
    while count > 0:
        batch = rng.choices(ready, weights, k=min(count, 10_000))
        count -= len(batch)
        yield from batch


class Judge:
    """A sink that sets every answer against its kind: outcomes to expect of the gateway, and what was wrong.

    `wrong` keeps the first faults in words, `faults` counts them all.
    """

    def __init__(self) -> None:
        self._kinds = {kind.name: kind for kind in KINDS}
        self.outcomes: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        self.kinds: dict[str, int] = dict.fromkeys(self._kinds, 0)
        self.wrong: list[str] = []
        self.faults = 0
        self.answered = 0

    def __call__(self, answer: Answer) -> None:
        """Take one."""
        self.answered += 1
        kind = self._kinds.get(answer.shot.kind)
        if kind is None:
            self._note(f"no connection: {answer.fault}")
            return
        self.kinds[kind.name] += 1
        outcome = Outcome.CLIENT_CLOSED if answer.left else kind.answers.get(_result(kind, answer))
        if outcome is None or answer.fault is not None:
            self._note(f"{kind.name}: HTTP {answer.status}, {answer.fault or 'whole'}: {answer.body[:120]!r}")
        if outcome is not None:
            self.outcomes[outcome] += 1

    def _note(self, text: str) -> None:
        self.faults += 1
        if len(self.wrong) < 20:
            self.wrong.append(text)


def _result(kind: Kind, answer: Answer) -> int:
    """The status, or what a stream made of it."""
    if kind.stream and answer.status == 200 and not answer.body.endswith(b"data: [DONE]\n\n"):
        return BROKEN_STREAM if b'data: {"error"' in answer.body else 0
    return answer.status
