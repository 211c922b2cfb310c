"""A request's place in a trace (W3C Trace Context): read from the caller's headers, handed on to upstreams.

Ids are made from the request's id, which is random already: a request that begins a trace has the trace id
`x-request-id` without its `req_`. A gateway that does not trace hands the caller's own context on, untouched.
"""

from __future__ import annotations

import re
from typing import Final

from app.exchange import Outbound, made
from app.pipeline.attempts import Attempt

_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
MOST_STATE: Final = 512
"""Characters of `tracestate` that are handed on; the standard asks for at least as many."""


class Trace:
    """The ids of one request's server span, and what its child spans will be made from when the request has ended.

    `sampled` was decided at the start: by the caller where it sent a context, else by the configured share.
    """

    __slots__ = (
        "_seed", "attempts", "captures", "kept", "ours", "parent_id", "path", "sampled", "span_id", "state", "trace_id",
    )  # fmt: skip

    def __init__(self, request_id: str, path: str, threshold: str) -> None:
        self.trace_id = request_id[-32:]
        self.span_id = request_id[-32:-16]
        self._seed = request_id[-16:]
        self.parent_id = ""
        self.state = ""
        self.path = path
        self.ours = True
        """Whether spans are made here; if not, the caller's context is handed on as it came."""
        self.sampled = request_id[-14:] >= threshold
        self.attempts: list[Attempt] = []
        self.captures = self.kept = False
        """Whether spans will hold what is said; whether the request has ended and its spans are sent."""

    def child_id(self, number: int) -> str:
        """The id of the span of child `number` (from 1), each another one."""
        return f"{int(self._seed, 16) ^ number:016x}"

    def attempt(self, attempt: Attempt, request: Outbound) -> Outbound:
        """The request as this attempt sends it: with the context of the attempt's own span."""
        self.attempts.append(attempt)
        span_id = self.child_id(len(self.attempts)) if self.ours else self.parent_id
        headers = (*request.headers, ("traceparent", f"00-{self.trace_id}-{span_id}-{'01' if self.sampled else '00'}"))
        if self.state:
            headers += (("tracestate", self.state),)
        return made(Outbound, (request.method, request.path, headers, request.body, request.stream, request.from_root))

    def continues(self, trace_id: str, parent_id: str, state: str, *, sampled: bool) -> None:
        """The caller's trace goes on here."""
        self.trace_id, self.parent_id, self.state, self.sampled = trace_id, parent_id, state, sampled


def of_copy(original: Trace, request_id: str) -> Trace:
    """The trace of a request's copy: a span of its own under the request's span, in the same trace."""
    trace = Trace(request_id, original.path, "g")
    trace.continues(original.trace_id, original.span_id, original.state, sampled=original.sampled)
    return trace


def threshold(share: float) -> str:
    """What the last 14 digits of a trace id must reach for the trace to be in this share (W3C level 2 randomness)."""
    rejected = round((1.0 - share) * 2**56)
    return f"{rejected:014x}" if rejected < 2**56 else "g"


def begin(request_id: str, path: str, traceparent: bytes, tracestate: bytes, limit: str | None) -> Trace | None:
    """The trace of a request. `limit` is the sampling threshold, None where the gateway does not trace."""
    found = _TRACEPARENT.fullmatch(traceparent.decode("latin-1")) if traceparent else None
    if found is not None and found[1] == "00" and found[5]:
        found = None  # version 0 has nothing behind its flags
    if found is None and limit is None:
        return None
    trace = Trace(request_id, path, limit or "g")
    trace.ours = limit is not None
    if found is not None:
        state = tracestate.decode("latin-1") if len(tracestate) <= MOST_STATE else ""
        trace.continues(found[2], found[3], state, sampled=bool(int(found[4], 16) & 1))
    return trace
