"""What a soak found, set against what may be: growth of memory, what is left open, and every request counted once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from loadtests.mix import Judge

SETTLING_IN = 100_000
"""Requests after which memory may no longer grow: every code path has run. A tenth in smaller soaks."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The gateway after `requests` answers. Bytes; `sockets` are among `files`; `tasks` as the gateway counts them."""

    requests: int
    seconds: float
    rss: int
    pss: int
    files: int
    sockets: int
    tasks: int


def line(sample: Sample) -> str:
    """A sample for people."""
    return (
        f"{sample.requests:>9} requests {sample.seconds:>7.1f} s  RSS {_mib(sample.rss)}  PSS {_mib(sample.pss)}  "
        f"{sample.files:>4} files  {sample.sockets:>4} sockets  {sample.tasks:>4} tasks"
    )


@dataclass(slots=True)
class Verdict:
    """Figures of a soak; `faults` is empty when all is well. `counted` are the gateway's outcomes, `expected` ours."""

    date: str
    machine: dict[str, Any]
    sent: int
    seconds: float
    before: Sample
    samples: list[Sample]
    after: Sample
    counted: dict[str, int]
    expected: dict[str, int]
    kinds: dict[str, int]
    violations: int
    growth: int = 0
    faults: list[str] = field(default_factory=list)

    def look(self, judge: Judge, allowed: int) -> None:
        """Write down every fault; `allowed` is the growth of memory in bytes."""
        if judge.faults:
            self.faults.append(f"{judge.faults} answers are wrong, such as: {' | '.join(judge.wrong[:5])}")
        if self.sent != judge.answered:
            self.faults.append(f"{self.sent} requests were sent, {judge.answered} came to an end")
        self._count()
        self._leftovers()
        settled_in = min(SETTLING_IN, self.sent // 10)
        base = next((sample for sample in self.samples if sample.requests >= settled_in), self.before)
        self.growth = self.samples[-1].rss - base.rss
        if self.growth > allowed:
            self.faults.append(f"RSS grew by {_mib(self.growth)}; {_mib(allowed)} are allowed")
        if self.violations:
            self.faults.append(f"the upstream saw {self.violations} things that no gateway may send")

    def _count(self) -> None:
        if sum(self.counted.values()) != self.sent:
            self.faults.append(f"{self.sent} requests were sent, {sum(self.counted.values())} are counted")
        for outcome in sorted(self.counted.keys() | self.expected.keys()):
            counted, expected = self.counted.get(outcome, 0), self.expected.get(outcome, 0)
            if counted != expected:
                self.faults.append(f"{outcome}: {expected} expected, {counted} counted")

    def _leftovers(self) -> None:
        for what in ("sockets", "tasks"):
            left = getattr(self.after, what) - getattr(self.before, what)
            if left > 0:
                self.faults.append(f"{left} {what} are left over")

    def text(self) -> str:
        """The figures for people, faults last."""
        ended = sorted(self.counted.items(), key=lambda one: -one[1])
        outcomes = ", ".join(f"{name} {count}" for name, count in ended)
        settled_in = min(SETTLING_IN, self.sent // 10)
        sockets, tasks = self.after.sockets - self.before.sockets, self.after.tasks - self.before.tasks
        rss = (self.before.rss, self.samples[-1].rss, self.after.rss)
        rate = self.sent / self.seconds
        return "\n".join(
            [
                f"{self.sent} requests in {self.seconds:.0f} s ({rate:.0f}/s); outcomes: {outcomes}",
                "RSS {} before, {} at the end of the load, {} settled".format(*map(_mib, rss)),
                f"growth of RSS after the first {settled_in} requests: {_mib(self.growth)}",
                f"left over: {sockets} sockets, {tasks} tasks",
                *(f"FAULT: {fault}" for fault in self.faults),
            ]
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
