"""What an answer says about itself in its head."""

from __future__ import annotations

import pytest

from app.api.heads import duration, headers_of, lines_of, rate_headers
from app.exchange import Operation
from app.metering import Limit, Measure, Scope, ScopeKind
from app.pipeline.progress import Progress


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, b"0ms"),
        (0.0171, b"18ms"),
        (0.6, b"600ms"),
        (1.5, b"1.5s"),
        (59.9, b"59.9s"),
        (60, b"1m0s"),
        (3725.2, b"62m6s"),
    ],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, written: bytes) -> None:
    """In `x-ratelimit-reset-*`: never shorter than it takes."""
    assert duration(seconds) == written


def test_rates_stand_in_headers() -> None:
    """Requests and tokens; what is left is never below zero, and a rate of nothing is never full again."""
    scope = Scope(ScopeKind.TENANT, "t")
    limits = tuple(Limit(scope, measure, 100) for measure in (Measure.CONCURRENT, Measure.REQUESTS, Measure.TOKENS))
    headers = dict(rate_headers([(limits, (5, 40, -3))]))
    assert headers == {
        b"x-ratelimit-limit-requests": b"100",
        b"x-ratelimit-remaining-requests": b"40",
        b"x-ratelimit-reset-requests": b"36s",
        b"x-ratelimit-limit-tokens": b"100",
        b"x-ratelimit-remaining-tokens": b"0",
        b"x-ratelimit-reset-tokens": b"1m0s",
    }
    assert dict(rate_headers([((Limit(scope, Measure.REQUESTS, 0),), (0,))]))[b"x-ratelimit-reset-requests"] == b"0ms"


def test_a_head_is_the_same_as_lines() -> None:
    """An answer that is written in one go has its head written out; the two never differ."""
    progress = Progress("req_1", Operation.CHAT)
    progress.fitted = "truncated"
    progress.clamped = 17
    progress.rates = (((Limit(Scope(ScopeKind.TENANT, "t"), Measure.REQUESTS, 60),), (59,)),)
    headers = headers_of(progress)
    assert dict(headers)[b"x-request-id"] == b"req_1"
    assert dict(headers)[b"x-sluicegate-budget"] == b"clamp; max_tokens=17"
    assert lines_of(progress) == b"".join(b"%b: %b\r\n" % one for one in headers)
