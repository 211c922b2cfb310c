"""The record of a request: one outcome, one line, tokens and cost if it was charged, and labels that stay bounded."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import INVALID_API_KEY, UPSTREAM_ERROR, GatewayError, Outcome
from app.exchange import Arm, JsonObject, Method, Operation, Principal, Usage
from app.logs import LOG_FIELDS
from app.metering import NOTHING, Charge
from app.pipeline.progress import CALL, STAGES, Progress
from app.pipeline.record import Recorder
from app.pipeline.report import Hit, Report
from app.telemetry import (
    COST,
    FIRST_TOKEN,
    GUARD_FAILURES,
    GUARD_HITS,
    GUARD_HOLD,
    OVERHEAD,
    PER_TOKEN,
    REQUEST_DURATION,
    REQUESTS,
    TOKEN_USAGE,
)
from tests.pipeline.parts import Counted, Lines, call, deployment, no_tracer

ONE, TWO = deployment("one"), deployment("two")


class Book:
    """A recorder with what it writes to."""

    def __init__(self, tenants: int = 200, access: str = "all") -> None:
        self.telemetry = Counted()
        self.log = Lines()
        self.recorder = Recorder(self.telemetry, self.log, no_tracer(self.telemetry), tenants, access)

    def record(self, progress: Progress) -> JsonObject:
        """Record a request; its line."""
        self.recorder.record(progress)
        return self.log.written[-1]


def served(outcome: Outcome = Outcome.OK, **facts: Any) -> Progress:
    """A request that a deployment answered."""
    progress = Progress("req_1", Operation.CHAT)
    progress.principal = Principal("team", "ci")
    progress.call = call(stream=True)
    progress.deployment, progress.arm = ONE, Arm.STABLE
    progress.outcome, progress.reached, progress.status = outcome, True, 200
    progress.usage, progress.charge = Usage(10, 5), Charge(15, 1_000_000)
    for name, value in facts.items():
        setattr(progress, name, value)
    return progress


def stranger() -> Progress:
    """A request without a known key."""
    progress = Progress("req_2", Operation.CHAT)
    progress.fail(GatewayError(INVALID_API_KEY, "no"))
    return progress


def test_a_request_that_was_served() -> None:
    """Its outcome, tokens and money by model, deployment, arm and tenant; the line says the same."""
    book = Book()
    line = book.record(served())
    assert book.telemetry.read(REQUESTS) == {("chat", "one", "stable", "team", "ok"): (1.0,)}
    assert book.telemetry.total(COST) == 0.001
    assert book.telemetry.observed(TOKEN_USAGE, "input") == (1, 10)
    assert book.telemetry.observed(TOKEN_USAGE, "output") == (1, 5)
    assert (line["cost_usd"], line["usage"], line["tenant"], line["key"]) == (0.001, Method.EXACT, "team", "ci")
    assert (line["deployment"], line["arm"], line["model"], line["stream"]) == ("one", "stable", "chat", True)


@pytest.mark.parametrize(
    ("access", "told"), [("all", ["ok", "upstream_error"]), ("failures", ["upstream_error"]), ("none", [])]
)
def test_some_requests_get_no_line(access: str, told: list[str]) -> None:
    """All the same they are counted."""
    book = Book(access=access)
    for outcome in (Outcome.OK, Outcome.UPSTREAM_ERROR):
        book.recorder.record(served(outcome))
    assert book.telemetry.total(REQUESTS) == 2
    assert [line["outcome"] for line in book.log.written] == told


def test_a_request_that_reached_nobody_is_not_charged() -> None:
    """A connection that was refused costs nothing and puts no zero among the tokens."""
    book = Book()
    book.record(
        served(Outcome.UPSTREAM_ERROR, reached=False, usage=Usage(0, 0, method=Method.NOTHING_SENT), charge=NOTHING)
    )
    assert book.telemetry.total(REQUESTS) == 1
    assert (book.telemetry.observed(TOKEN_USAGE), book.telemetry.total(COST)) == ((0, 0), 0)


def test_a_stranger_leaves_no_names() -> None:
    """What nobody knows becomes no label: neither model nor tenant."""
    book = Book()
    line = book.record(stranger())
    assert book.telemetry.read(REQUESTS) == {("-", "-", "-", "-", "refused_auth"): (1.0,)}
    assert line["model"] == "-"
    assert not line.keys() & {"tenant", "key", "deployment", "arm", "stream", "input_tokens", "cost_usd"}


def test_a_model_that_nobody_knows_is_no_label() -> None:
    """A caller cannot make series by inventing names."""
    book = Book()
    for number in range(50):
        progress = Progress(f"req_{number}", Operation.CHAT)
        progress.principal = Principal("team", "ci")
        progress.call = call(model=f"invented-{number}")
        progress.outcome = Outcome.REFUSED_INVALID
        assert book.record(progress)["model"] == "-"
    assert book.telemetry.read(REQUESTS) == {("-", "-", "-", "team", "refused_invalid"): (50.0,)}


def test_tenants_beyond_the_bound_are_other() -> None:
    """The first ones keep their names, always; the line has every name."""
    book = Book(tenants=2)
    for name in ("a", "b", "c", "d", "a", "c"):
        assert book.record(served(principal=Principal(name, "k")))["tenant"] == name
    held = {labels[3]: slots[0] for labels, slots in book.telemetry.read(REQUESTS).items()}
    assert held == {"a": 2, "b": 1, "other": 3}


def test_time_to_first_token_and_per_token() -> None:
    """From arrival to the first byte, and from there to the last per token after the first; streams only."""
    book = Book()
    progress = served(usage=Usage(10, 11))
    progress.first_at, progress.last_at = progress.began + 0.5, progress.began + 2.5
    line = book.record(progress)
    assert book.telemetry.observed(FIRST_TOKEN)[1] == pytest.approx(0.5)
    assert book.telemetry.observed(PER_TOKEN)[1] == pytest.approx(0.2)
    assert line["first_token_ms"] == pytest.approx(500, abs=1)
    book.record(served(usage=Usage(10, 1), first_at=progress.began + 1, last_at=progress.began + 1))
    assert book.telemetry.observed(PER_TOKEN)[0] == 1
    assert "first_token_ms" not in book.record(served())


def test_the_whole_request_is_timed() -> None:
    """From its arrival to now, whatever was streamed; nothing that reached no upstream."""
    book = Book()
    progress = served()
    progress.began -= 2.0
    book.record(progress)
    book.record(served(reached=False, charge=NOTHING))
    count, seconds = book.telemetry.observed(REQUEST_DURATION)
    assert count == 1
    assert 2.0 <= seconds < 60.0


def test_overhead_by_stage_and_in_all() -> None:
    """Stages that took nothing are left out; the total is their sum."""
    book = Book()
    progress = served()
    progress.own = [0.0] * len(STAGES)
    progress.own[CALL], progress.own[0] = 0.25, 0.5
    line = book.record(progress)
    assert book.telemetry.observed(OVERHEAD, "call") == (1, 0.25)
    assert book.telemetry.observed(OVERHEAD, "relay") == (0, 0.0)
    assert book.telemetry.observed(OVERHEAD, "total") == (1, 0.75)
    assert line["overhead_ms"] == 750


def test_an_error_is_told_by_its_code() -> None:
    """The line has code and detail, cut to a length; no message, for messages may quote."""
    book = Book()
    progress = served(detail="x" * 10_000)
    progress.fail(GatewayError(UPSTREAM_ERROR, "the message"))
    line = book.record(progress)
    assert (line["code"], len(line["detail"])) == ("upstream_error", 500)
    assert "the message" not in str(line)


@st.composite
def requests(draw: st.DrawFn) -> Progress:
    """Requests that ended anywhere on the path."""
    progress = Progress("req_3", draw(st.sampled_from(Operation)))
    progress.outcome = draw(st.sampled_from(Outcome))
    if draw(st.booleans()):
        progress.principal = Principal(draw(st.sampled_from(["a", "b", "c"])), "k")
        if draw(st.booleans()):
            progress.call = call(stream=draw(st.booleans()))
            if draw(st.booleans()):
                progress.deployment, progress.arm = draw(st.sampled_from([ONE, TWO])), draw(st.sampled_from(Arm))
                progress.reached = draw(st.booleans())
                progress.usage = draw(st.builds(Usage, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)))
                progress.charge = Charge(0, draw(st.integers(0, 10**30)))
    return progress


@given(st.lists(requests(), max_size=12))
@settings(max_examples=50)
def test_outcomes_add_up(ended: list[Progress]) -> None:
    """The sum over outcomes is the number of requests and of lines, and every line can be written as it is declared."""
    book = Book(tenants=2)
    for progress in ended:
        line = book.record(progress)
        assert line.keys() <= LOG_FIELDS.keys()
        orjson.dumps(line)
    outcomes: Counter[str] = Counter()
    for labels, slots in book.telemetry.read(REQUESTS).items():
        outcomes[labels[4]] += int(slots[0])
    assert outcomes == Counter(progress.outcome for progress in ended)
    assert len(book.log.written) == len(ended)


def test_what_a_guard_found_is_told() -> None:
    """In the line with every field that is declared for it, and counted by stage, category and action."""
    book = Book()
    report = Report("default")
    for _ in range(2):
        report.add(Hit("prompt", "pii", 6, "redact", "pii"))
    report.fail("classifier", "timeout")
    report.held = 0.25
    line = book.record(served(report=report))
    assert {name: line[name] for name in LOG_FIELDS if name.startswith("guard")} == {
        "guard": "default",
        "guard_hits": [
            {"stage": "prompt", "category": "pii", "severity": 6, "action": "redact", "detector": "pii", "count": 2}
        ],
        "guard_failures": [{"detector": "classifier", "reason": "timeout", "count": 1}],
        "guard_hold_ms": 250.0,
    }
    assert book.telemetry.total(GUARD_HITS, "prompt", "pii", "redact") == 2
    assert book.telemetry.total(GUARD_FAILURES, "classifier", "timeout") == 1
    assert book.telemetry.read(GUARD_HOLD)[()][-1] == pytest.approx(0.25)
