"""A gateway whose deployments fail in every way, each alone and with a fallback that works."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from tests.support.gateway import config, deployment

TIMEOUTS = {"connect": 1.0, "first_token": 1.5, "between_tokens": 1.5, "total": 4.0}
"""Seconds. Long enough for a busy machine, short enough to be waited for."""

BEHAVIOURS = (
    *("echo", "fail-400", "fail-404", "fail-422", "fail-401", "fail-403", "fail-500", "fail-504", "fail-529"),
    *("fail-503+retry-after-0", "fail-503+retry-after-0@budget", "fail-first-1+retry-after-0"),
    *("fail-first-2+retry-after-0", "fail-first-3+retry-after-0", "rate-limited-9", "rate-limited-5"),
    *("rate-limited-first-1-0", "rate-limited-first-1-1", "rate-limited-first-1-3", "error-event-first-500"),
    *(
        "error-event-first-503",
        "error-event-first-400",
        "error-event-after-3",
        "bad-json",
        "html",
        "dies",
        "empty-body",
    ),
    *("empty-stream", "dies-after-3+answer-9", "closes-after-3+answer-9", "hangs", "hangs-after-3"),
    *("answer-3000+pace-10ms", "answer-400+pace-20ms", "slow-300ms"),
)


def document(url: str, rescue: str, closed: int, silent: int, **settings: Any) -> dict[str, Any]:
    """Models `X` and `X/rescue` per behaviour X at `url`; on `closed` nobody listens, on `silent` nobody accepts."""
    usual = {"timeouts": TIMEOUTS, **settings}
    places = dict.fromkeys(BEHAVIOURS, url)
    places |= {"dead": f"http://127.0.0.1:{closed}", "silent": f"http://127.0.0.1:{silent}"}
    deployments = [deployment(f"to-{name}", place, name, **usual) for name, place in places.items()]
    rescuers = [deployment(name, rescue, behaviour, **usual) for name, behaviour in RESCUERS.items()]
    rescuers += [deployment(name, url, MANY, **{**usual, "provider": "vllm", **how}) for name, how in CUTS.items()]
    models: list[dict[str, Any]] = [{"name": name, "stable": f"to-{name}"} for name in places]
    models += [{"name": f"{name}/rescue", "stable": f"to-{name}", "fallbacks": ["rescue"]} for name in places]
    models += [
        {"name": "chain", "stable": "to-fail-500", "fallbacks": ["to-html", "to-rate-limited-9", "rescue", "spare"]},
        {"name": "hopeless", "stable": "to-fail-500", "fallbacks": ["to-html", "busy"]},
    ]
    models += [{"name": name, "stable": name} for name in CUTS]
    return config([*deployments, *rescuers], models)


MANY = "answer-400+multi-token-4+pace-5ms"
"""Four tokens a chunk, and a chunk every 20 ms."""
CUTS: dict[str, dict[str, Any]] = {
    "vllm": {},
    "generous": {"cancel_allowance": 40},
    "full": {"cancel_allowance": "full"},
}
RESCUERS = {"rescue": "answer-5", "spare": "answer-6", "busy": "rate-limited-9@busy"}


@contextmanager
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, and nobody else will."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def silent_port() -> Iterator[int]:
    """A port whose queue is full: connecting to it takes for ever."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        held.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:
                one.settimeout(0)
                one.connect_ex(held.getsockname())
            yield held.getsockname()[1]
        finally:
            for one in waiting:
                one.close()
