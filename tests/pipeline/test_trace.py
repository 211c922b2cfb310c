"""W3C Trace Context: what is read, what is handed on, which share is sampled."""

from __future__ import annotations

import re
from typing import cast

import pytest

from app.exchange import Outbound
from app.pipeline.attempts import Attempt
from app.pipeline.trace import MOST_STATE, begin, threshold

ID = "req_0af7651916cd43dd8448eb211c80319c"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONTEXT = f"00-{TRACE}-{PARENT}-01".encode()
ALL, NONE = threshold(1), threshold(0)
REQUEST = Outbound("POST", "/chat/completions", (("content-type", "application/json"),), b"{}", stream=False)
ATTEMPT = cast("Attempt", None)  # only kept


def test_without_a_context_a_trace_begins_here() -> None:
    """Its id is the request's own; a gateway that does not trace begins none."""
    trace = begin(ID, "/v1/x", b"", b"", ALL)
    assert trace is not None
    assert (trace.trace_id, trace.parent_id, trace.sampled) == (ID[4:], "", True)
    assert begin(ID, "/v1/x", b"", b"", None) is None


def test_the_caller_s_trace_goes_on() -> None:
    """Its id and its decision; the caller's span is the parent; state is handed on."""
    for limit in (ALL, NONE):
        trace = begin(ID, "/v1/x", CONTEXT, b"vendor=1", limit)
        assert trace is not None
        assert (trace.trace_id, trace.parent_id, trace.sampled, trace.state) == (TRACE, PARENT, True, "vendor=1")
        assert trace.span_id not in {PARENT, TRACE[:16]}
    trace = begin(ID, "/v1/x", CONTEXT[:-1] + b"0", b"", ALL)
    assert trace is not None
    assert not trace.sampled


BROKEN = (
    b"",
    b"00",
    CONTEXT.upper(),
    CONTEXT + b"-more",
    CONTEXT + b"\xe9",
    CONTEXT[:-1],
    b"ff" + CONTEXT[2:],
    b"00-" + b"g" * 32 + CONTEXT[35:],
    CONTEXT.replace(TRACE.encode(), b"0" * 32),
    CONTEXT.replace(PARENT.encode(), b"0" * 16),
)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_context_is_none(broken: bytes) -> None:
    """The trace begins here then, without the caller's state."""
    trace = begin(ID, "/v1/x", broken, b"vendor=1", ALL)
    assert trace is not None
    assert (trace.trace_id, trace.parent_id, trace.state) == (ID[4:], "", "")


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    """As the standard asks."""
    trace = begin(ID, "/v1/x", b"cc" + CONTEXT[2:] + b"-what-the-future-brings", b"", ALL)
    assert trace is not None
    assert trace.trace_id == TRACE


def test_state_that_is_too_long_is_left_out() -> None:
    """A caller cannot make every upstream request large."""
    trace = begin(ID, "/v1/x", CONTEXT, b"v=" + b"x" * MOST_STATE, ALL)
    assert trace is not None
    assert trace.state == ""


def test_each_attempt_has_a_context_of_its_own() -> None:
    """Same trace, another parent each time, the request's other headers untouched; state only where there is one."""
    trace = begin(ID, "/v1/x", CONTEXT, b"vendor=1", NONE)
    assert trace is not None
    sent = [trace.attempt(ATTEMPT, REQUEST) for _ in range(3)]
    parents = []
    for one in sent:
        assert one.headers[:1] == REQUEST.headers
        found = re.fullmatch(rf"00-{TRACE}-([0-9a-f]{{16}})-01", dict(one.headers)["traceparent"])
        assert found
        parents.append(found[1])
        assert dict(one.headers)["tracestate"] == "vendor=1"
    assert parents == [trace.child_id(number) for number in (1, 2, 3)]
    assert len({*parents, trace.span_id, PARENT}) == 5


def test_without_tracing_the_context_goes_through_untouched() -> None:
    """Every attempt carries what the caller sent."""
    trace = begin(ID, "/v1/x", CONTEXT, b"vendor=1", None)
    assert trace is not None
    headers = dict(trace.attempt(ATTEMPT, REQUEST).headers)
    assert (headers["traceparent"], headers["tracestate"]) == (CONTEXT.decode(), "vendor=1")


def test_shares_are_kept() -> None:
    """All, none, and a tenth of evenly spread ids."""
    ids = [f"req_{number * 2**56 // 1000:032x}" for number in range(1000)]
    for share, expected in ((1.0, 1000), (0.1, 100), (0.01, 10), (0.0, 0), (1e-30, 0)):
        traces = [begin(one, "/v1/x", b"", b"", threshold(share)) for one in ids]
        assert sum(trace.sampled for trace in traces if trace is not None) == pytest.approx(expected, abs=1)
