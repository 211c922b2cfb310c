"""The load profiles of `make load`: who calls, how many of them when, and what must hold for the launch to be safe.

Times are seconds. A profile is data: `locust/profiled.py` plays it, `goals.py` judges what came of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Stage:
    """So many callers at a time from now on, for `seconds`; they come, or go, at `rate` a second."""

    seconds: float
    users: int
    rate: float


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound that a row of the statistics must keep: `share` is of failed requests, the rest are milliseconds."""

    row: str
    figure: str  # share | p50 | p95 | p99
    most: float

    def __str__(self) -> str:
        unit = "%" if self.figure == "share" else " ms"
        value = self.most * 100 if self.figure == "share" else self.most
        return f"{self.row} {'failed' if self.figure == 'share' else self.figure} ≤ {value:g}{unit}"


@dataclass(frozen=True, slots=True)
class Profile:
    """`callers` are kinds of callers with their weights. `pause` is how long each waits between two requests."""

    about: str
    callers: dict[str, int]
    stages: tuple[Stage, ...]
    goals: tuple[Goal, ...]
    pause: tuple[float, float] = (0.5, 1.5)

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return sum(stage.seconds for stage in self.stages)

    def scaled(self, users: float, seconds: float) -> Profile:
        """The same shape with so many times the callers, in so many times the time; at least one caller, one second."""
        stages = tuple(
            Stage(max(1.0, one.seconds * seconds), max(1, round(one.users * users)), max(1.0, one.rate * users))
            for one in self.stages
        )
        return replace(self, stages=stages)


ALL_ROWS = "all"
FIRST, BETWEEN = "TTFT", "ITL"
"""Rows beside the requests': from the request to the first piece of text, and between two pieces."""
NONE_FAILED = Goal(ALL_ROWS, "share", 0.001)

PROFILES: dict[str, Profile] = {
    "chat": Profile(
        "whole answers to prompts of 200 tokens",
        {"chat": 1}, (Stage(10, 50, 10), Stage(110, 100, 20)), (NONE_FAILED, Goal("chat", "p99", 1000)),
    ),
    "long": Profile(
        "short prompts beside some of 100 000 tokens: nobody waits for another's parsing",
        {"chat": 20, "long": 1}, (Stage(120, 42, 5),), (NONE_FAILED, Goal("chat", "p99", 1000)),
    ),
    "stream": Profile(
        "streams of 64 pieces, 20 ms apart; time to first token and between tokens at the caller's line",
        {"stream": 1}, (Stage(20, 100, 10), Stage(100, 200, 20)),
        (NONE_FAILED, Goal(FIRST, "p99", 500), Goal(BETWEEN, "p99", 60)),
    ),
    "steady": Profile(
        "as many streams at a time as there are callers, without a pause",
        {"stream": 1}, (Stage(30, 16, 16),), (NONE_FAILED, Goal(FIRST, "p99", 500), Goal(BETWEEN, "p99", 60)), (0, 0),
    ),
    "embeddings": Profile(
        "embeddings of 16 texts at a time",
        {"embeddings": 1}, (Stage(60, 50, 10),), (NONE_FAILED, Goal("embeddings", "p99", 500)),
    ),
    "tenants": Profile(
        "everything, by several tenants at once: needs `--keys` of several",
        {"chat": 6, "stream": 3, "embeddings": 2}, (Stage(120, 80, 10),),
        (NONE_FAILED, Goal("chat", "p99", 1000), Goal(FIRST, "p99", 500)),
    ),
    "spike": Profile(
        "ten times the callers within two seconds, twice; in between and afterwards all is as before",
        {"chat": 3, "stream": 1},
        (Stage(20, 20, 20), Stage(20, 200, 90), Stage(20, 20, 90), Stage(20, 200, 90), Stage(30, 20, 90)),
        (Goal(ALL_ROWS, "share", 0.01), Goal("chat", "p99", 3000), Goal(FIRST, "p99", 1500)),
    ),
    "canary": Profile(
        "callers who each keep to one arm; the summary says which share the candidate got",
        {"sticky": 1}, (Stage(120, 100, 20),), (NONE_FAILED,),
    ),
    "soak": Profile(
        "a working day's mix for an hour",
        {"chat": 10, "stream": 5, "embeddings": 3, "leaver": 1}, (Stage(3600, 60, 5),),
        (NONE_FAILED, Goal("chat", "p99", 1000), Goal(FIRST, "p99", 500)), (0.2, 2.0),
    ),
}  # fmt: skip
