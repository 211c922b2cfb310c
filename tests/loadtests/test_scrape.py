"""Sums over an exposition."""

from __future__ import annotations

from loadtests.scrape import total, total_by

TEXT = """# HELP sluicegate_requests_total Data-plane POSTs.
# TYPE sluicegate_requests_total counter
sluicegate_requests_total{model="a b{}\\"c",outcome="ok"} 3
sluicegate_requests_total{model="b",outcome="ok"} 4.0
sluicegate_requests_total{model="b",outcome="client_closed"} 1e3
sluicegate_requests_total_more{outcome="ok"} 99
sluicegate_tasks 6
"""


def test_sums_by_label() -> None:
    """Label values may hold braces and quotes; other metrics whose names begin alike do not count."""
    assert total_by(TEXT, "sluicegate_requests_total", "outcome") == {"ok": 7, "client_closed": 1000}


def test_sums_over_everything() -> None:
    """Also of what has no labels, or is not there."""
    assert (total(TEXT, "sluicegate_tasks"), total(TEXT, "sluicegate_requests_total"), total(TEXT, "x")) == (6, 1007, 0)
