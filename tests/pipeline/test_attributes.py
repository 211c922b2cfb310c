"""What spans tell of budgets, rollouts, shadows and guards; the rest is seen at a real receiver in test_spans.py."""

from __future__ import annotations

import pytest

from app import semconv
from app.errors import Outcome
from app.exchange import Arm, Operation
from app.metering import Charge
from app.pipeline.attributes import copied, looked, served
from app.pipeline.progress import Progress
from app.pipeline.report import Hit, Report
from tests.pipeline.parts import call, deployment


def progress() -> Progress:
    """A request that was answered."""
    made = Progress("req_" + "7" * 32, Operation.CHAT)
    made.call, made.deployment, made.arm, made.outcome = call(), deployment("one"), Arm.SHADOW, Outcome.OK
    made.charge = Charge(30, 4_000)
    return made


def test_a_server_span_tells_what_was_done_to_the_request() -> None:
    """Only what was done."""
    plain = progress()
    new = {semconv.RESERVED, semconv.CLAMPED, semconv.OBSERVED, semconv.COPIED, semconv.GUARD}
    assert not new & dict(served(plain, 0.1, "sampled")).keys()
    full = progress()
    full.reserved, full.clamped, full.observed, full.copied, full.report = 90, 64, True, True, Report("default")
    full.report.fail("harm", "timeout")
    told = dict(served(full, 0.1, "sampled"))
    assert told.items() >= {
        semconv.RESERVED: 90, semconv.CHARGED: 30, semconv.CLAMPED: 64, semconv.OBSERVED: True, semconv.COPIED: True,
        semconv.GUARD: "default", semconv.GUARD_FAILURES: ("harm timeout",),
    }.items()  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "action", "ended", "verdict"),
    [
        ("prompt", None, False, "passed"), ("prompt", "log", False, "passed"), ("prompt", "redact", False, "redacted"),
        ("prompt", "block", True, "refused"), ("completion", "block", True, "cut"),
    ],
)  # fmt: skip
def test_a_look_of_a_guard(stage: str, action: str | None, ended: bool, verdict: str) -> None:  # noqa: FBT001
    """The verdict and the hits of its own stage."""
    report = Report("default")
    other = "completion" if stage == "prompt" else "prompt"
    report.add(Hit(other, "pii", 6, "log", "pii"))
    if action is not None:
        report.add(Hit(stage, "hate", 4, action, "harm"))
    report.refused = report.cut = ended
    report.held = 0.25
    told = dict(looked(report, stage))
    assert told[semconv.GUARD_VERDICT] == verdict
    assert told.get(semconv.GUARD_HITS) == (None if action is None else (f"hate 4 {action} harm",))
    assert told.get(semconv.GUARD_HOLD) == (0.25 if stage == "completion" else None)


def test_a_copy() -> None:
    """Who made it, what it cost."""
    told = dict(copied(progress()))
    assert (told[semconv.ARM], told[semconv.DEPLOYMENT], told[semconv.CHARGED]) == ("shadow", "one", 30)
