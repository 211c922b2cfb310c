"""What every answer of the data plane says about itself in its head."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil

from app.api.answers import Headers
from app.metering import Limit, Measure
from app.pipeline.progress import Progress

Rates = Sequence[tuple[tuple[Limit, ...], Sequence[int]]]
"""Limits, with what is left of each."""


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
    if progress.rates:
        headers += rate_headers(progress.rates)
    if progress.clamped:
        headers.append((b"x-sluicegate-budget", b"clamp; max_tokens=%d" % progress.clamped))
    return headers


def rate_headers(rates: Rates) -> Headers:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}` as OpenAI writes them; `reset`: until all is back."""
    pairs = [line.split(b": ", 1) for line in rate_lines(rates).split(b"\r\n")[:-1]]
    return [(name, value) for name, value in pairs]


def rate_lines(rates: Rates) -> bytes:
    """The same as lines of a head."""
    lines = b""
    for limits, left in rates:
        for place in range(len(limits)):
            limit = limits[place]
            form = _RATES.get(limit.measure)
            if form is not None:
                count, rest = limit.limit, max(left[place], 0)
                lines += form % (count, rest, duration((count - rest) * limit.interval if count else 0.0))
    return lines


_RATES = {
    measure: b"".join(
        b"x-ratelimit-%b-%b: %b\r\n" % (what, measure.encode(), form)
        for what, form in ((b"limit", b"%d"), (b"remaining", b"%d"), (b"reset", b"%b"))
    )
    for measure in (Measure.REQUESTS, Measure.TOKENS)
}
"""For every measure but requests at the same time: there is nothing that comes back with time."""


_MILLISECONDS = tuple(b"%dms" % number for number in range(1000))


def duration(seconds: float) -> bytes:
    """As Go writes one, and OpenAI with it: 6m0s, 1.5s, 17ms."""
    if seconds <= 0.999:
        return _MILLISECONDS[ceil(seconds * 1000)]
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
    if progress.rates:
        lines += rate_lines(progress.rates)
    if progress.clamped:
        lines += b"x-sluicegate-budget: clamp; max_tokens=%d\r\n" % progress.clamped
    return lines


@lru_cache(maxsize=4096)
def _served_by_lines(deployment: str, arm: str) -> bytes:
    return b"".join(b"%b: %b\r\n" % one for one in _served_by(deployment, arm))


@lru_cache(maxsize=4096)
def _served_by(deployment: str, arm: str) -> Headers:
    return [(b"x-sluicegate-deployment", deployment.encode()), (b"x-sluicegate-arm", arm.encode())]
