"""What a guard found in one request, counted."""

from __future__ import annotations

from app.pipeline.report import Hit, Report


def test_findings_and_failures_are_counted() -> None:
    """Each kind once, with how often."""
    report = Report("default")
    hit = Hit("prompt", "pii", 6, "redact", "pii")
    for _ in range(3):
        report.add(hit)
    report.fail("classifier", "timeout")
    assert report.hits == {hit: 3}
    assert report.failures == {("classifier", "timeout"): 1}
    assert (report.refused, report.cut, report.held) == (False, False, 0.0)
