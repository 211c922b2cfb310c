"""What every answer of the data plane says about itself in its head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import ceil

from app.api.answers import Headers
from app.metering import Limit, Measure
from app.pipeline.progress import Progress


def headers_of(progress: Progress) -> Headers:
    """What every answer of the data plane says about itself; `server-timing` is the gateway's time so far, in ms."""
    headers = [
        (b"x-request-id", progress.request_id.encode()),
        (b"server-timing", b"gateway;dur=%.3f" % (sum(progress.own) * 1000)),
    ]
    if progress.deployment is not None and progress.arm is not None:
        headers += _served_by(progress.deployment.name, progress.arm)
    if progress.fitted is not None:
        headers.append((b"x-sluicegate-fit", progress.fitted.encode()))
    if progress.rates or progress.clamped:
        headers += _limits(progress)
    return headers


def _limits(progress: Progress) -> Headers:
    """What is left of the rates, and whether a budget lowered the cap."""
    headers = rate_headers(progress.rates)
    if progress.clamped:
        headers.append((b"x-sluicegate-budget", b"clamp; max_tokens=%d" % progress.clamped))
    return headers


def rate_headers(rates: Iterable[tuple[tuple[Limit, ...], Sequence[int]]]) -> Headers:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}` as OpenAI writes them; `reset`: until all is back."""
    headers: Headers = []
    for limits, left in rates:
        for limit, rest in zip(limits, left, strict=True):
            if limit.measure is Measure.CONCURRENT:
                continue
            most, remaining, reset = _RATES[limit.measure]
            count = limit.limit
            headers.append((most, b"%d" % count))
            headers.append((remaining, b"%d" % max(rest, 0)))
            headers.append((reset, duration((count - max(rest, 0)) * limit.interval if count else 0.0)))
    return headers


_RATES = {
    measure: tuple(f"x-ratelimit-{what}-{measure}".encode() for what in ("limit", "remaining", "reset"))
    for measure in (Measure.REQUESTS, Measure.TOKENS)
}


def duration(seconds: float) -> bytes:
    """As Go writes one, and OpenAI with it: 6m0s, 1.5s, 17ms."""
    if seconds < 1:
        return b"%dms" % ceil(seconds * 1000)
    if seconds < 60:
        return f"{ceil(seconds * 1000) / 1000:g}s".encode()
    minutes, rest = divmod(ceil(seconds), 60)
    return b"%dm%ds" % (minutes, rest)


def lines_of(progress: Progress) -> bytes:
    """The same as lines of a head."""
    timing = b"server-timing: gateway;dur=%.3f\r\n" % (sum(progress.own) * 1000)
    lines = b"x-request-id: %b\r\n%b" % (progress.request_id.encode(), timing)
    if progress.deployment is not None and progress.arm is not None:
        lines += _served_by_lines(progress.deployment.name, progress.arm)
    if progress.fitted is not None:
        lines += b"x-sluicegate-fit: %b\r\n" % progress.fitted.encode()
    if progress.rates or progress.clamped:
        lines += b"".join([b"%b: %b\r\n" % header for header in _limits(progress)])
    return lines


@lru_cache(maxsize=4096)
def _served_by_lines(deployment: str, arm: str) -> bytes:
    return b"".join(b"%b: %b\r\n" % one for one in _served_by(deployment, arm))


@lru_cache(maxsize=4096)
def _served_by(deployment: str, arm: str) -> Headers:
    return [(b"x-sluicegate-deployment", deployment.encode()), (b"x-sluicegate-arm", arm.encode())]
