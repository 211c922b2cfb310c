"""What a running gateway has counted, read without parsing all of `/metrics`; and sums that hold after every test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tests.support.gateway import Gateway
from tests.support.upstream import Upstream

_LABEL = re.compile(r'(\w+)="([^"]*)"')


def samples(gateway: Gateway, metric: str) -> list[tuple[dict[str, str], float]]:
    """Every sample of a counter or gauge: its labels and its value."""
    lines = gateway.ops("/metrics").text.splitlines()
    found = (line.rpartition(" ") for line in lines if line.startswith(metric + "{"))
    return [(dict(_LABEL.findall(series)), float(value)) for series, _, value in found]


def total(gateway: Gateway, metric: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels."""
    return sum(value for held, value in samples(gateway, metric) if labels.items() <= held.items())


def attempts(gateway: Gateway, **labels: str) -> dict[str, int]:
    """Upstream attempts by result."""
    counts: dict[str, int] = {}
    for held, value in samples(gateway, "sluicegate_upstream_attempts_total"):
        if labels.items() <= held.items():
            counts[held["result"]] = counts.get(held["result"], 0) + int(value)
    return counts


def reached(gateway: Gateway) -> int:
    """Attempts that an upstream must have seen: all but those without a connection."""
    return sum(count for result, count in attempts(gateway).items() if not result.startswith("connect"))


def seen(upstreams: Iterable[Upstream]) -> int:
    """Attempts that the upstreams have seen to their end: probes are none.

    A request on a connection that had served before, and closed without a byte, is one that the transport sent again.
    """
    lines = (line for upstream in upstreams for line in upstream.log() if line["path"] not in {"/health", "/metrics"})
    return sum(not (line["nth"] > 1 and line["fault"] in {"dies", "closes"} and not line["status"]) for line in lines)


def in_flight(gateway: Gateway) -> float:
    """Attempts under way."""
    return total(gateway, "sluicegate_in_flight")


@contextmanager
def balanced(gateway: Gateway, *upstreams: Upstream) -> Iterator[None]:
    """Afterwards: nothing is in flight, every request has one outcome and one line, every attempt was seen upstream.

    The upstreams have been reset before; requests that one saw before it was killed are not asked about.
    """
    made = reached(gateway)
    yield
    gateway.until(lambda: in_flight(gateway) == 0, what="something is still in flight")
    counted = int(total(gateway, "sluicegate_requests_total"))
    assert len(gateway.lines(counted)) == counted
    if upstreams:
        for upstream in upstreams:
            upstream.wait(lambda stats: stats["running"] == 0)
        assert reached(gateway) - made == seen(upstreams)
