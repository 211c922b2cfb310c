"""The retry budget: a tenth of the traffic and a small float, whatever the order of events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.pipeline.retries import CEILING, EARNED, FLOAT, NoRetries, RetryBudgets
from app.telemetry import RETRIES_DENIED
from tests.pipeline.parts import Counted


def test_a_quiet_deployment_may_retry() -> None:
    """The float lets the first failures be retried; then it is spent, and every refusal is counted."""
    telemetry = Counted()
    budgets = RetryBudgets(telemetry)
    assert [budgets.spend("a") for _ in range(12)] == [True] * int(FLOAT) + [False] * 2
    assert telemetry.total(RETRIES_DENIED, "a") == 2


def test_deployments_do_not_share() -> None:
    """One that fails leaves the others' retries alone."""
    budgets = RetryBudgets(Counted())
    while budgets.spend("a"):
        pass
    assert budgets.spend("b")


def test_a_tenth_of_the_traffic_when_everything_fails() -> None:
    """The sustained rate: ten requests buy one retry."""
    budgets = RetryBudgets(Counted())
    while budgets.spend("a"):
        pass
    retried = 0
    for _ in range(1000):
        budgets.earn("a")
        retried += budgets.spend("a")
    assert 99 <= retried <= 101


@given(st.lists(st.sampled_from(["earn", "spend"]), max_size=400))
def test_never_more_than_it_earned(events: list[str]) -> None:
    """Retries never exceed float and a tenth of the requests so far, in any order."""
    budgets = RetryBudgets(Counted())
    earned = spent = 0
    for event in events:
        if event == "earn":
            budgets.earn("a")
            earned += 1
        else:
            spent += budgets.spend("a")
        assert spent <= FLOAT + EARNED * earned + 1e-9


def test_savings_have_a_ceiling() -> None:
    """A quiet week does not pay for a storm."""
    budgets = RetryBudgets(Counted())
    for _ in range(100_000):
        budgets.earn("a")
    assert sum(budgets.spend("a") for _ in range(1000)) == CEILING


def test_what_is_never_sent_twice() -> None:
    """Whatever has come before."""
    none = NoRetries()
    for _ in range(50):
        none.earn("one")
    assert not none.spend("one")
