"""Policies: how α is divided, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from app.config.models import Rollout
from app.control.policy import Bad, Gate, OnFailure, Policy, Step, policy_of, shares

ERROR, HARM, REFUSAL, TRUNCATED = (Gate(kind) for kind in (Bad.ERROR, Bad.HARM, Bad.REFUSAL, Bad.TRUNCATED))


@pytest.mark.parametrize(
    ("gates", "parts"),
    [
        ((ERROR,), (1.0,)),
        ((REFUSAL,), (1.0,)),
        ((ERROR, HARM, REFUSAL), (0.5, 0.2, 0.3)),
        ((ERROR, HARM, REFUSAL, TRUNCATED), (0.5, 0.2, 0.15, 0.15)),
        ((ERROR, HARM), (5 / 7, 2 / 7)),
        ((Gate(Bad.ERROR, share=0.9), HARM, REFUSAL), (0.9, 0.04, 0.06)),
        ((Gate(Bad.ERROR, share=0.3), Gate(Bad.HARM, share=0.3)), (0.3, 0.3)),
    ],
)
def test_alpha_is_divided(gates: tuple[Gate, ...], parts: tuple[float, ...]) -> None:
    """Half to errors, a fifth to harm, the rest shared; what absent gates leave goes to those present."""
    assert shares(gates) == pytest.approx(parts)
    assert sum(shares(gates)) <= 1 + 1e-9


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Gate(Bad.ERROR, margin=-0.1), "margin"),
        (lambda: Gate(Bad.ERROR, prove=True), "margin"),
        (lambda: Gate(Bad.ERROR, share=0.0), "share"),
        (lambda: Gate(Bad.SLOW_FIRST_TOKEN), "seconds or quantile"),
        (lambda: Gate(Bad.SLOW_TOTAL, seconds=1.0, quantile=0.9), "seconds or quantile"),
        (lambda: Gate(Bad.SLOW_TOTAL, quantile=1.0), "quantile"),
        (lambda: Gate(Bad.COST), "over_usd"),
        (lambda: Gate(Bad.LOW_QUALITY), "below"),
        (lambda: Step(0.0), "weight"),
        (lambda: Step(101.0), "weight"),
        (lambda: Step(5.0, hold_s=10.0, patience_s=5.0), "patience"),
        (lambda: Policy((), (ERROR,)), "step"),
        (lambda: Policy((Step(5),), ()), "gate"),
        (lambda: Policy((Step(5),), (ERROR,), alpha=0.0), "alpha"),
        (lambda: Policy((Step(5),), (ERROR, ERROR)), "once"),
        (lambda: Policy((Step(5), Step(5)), (ERROR,)), "rise"),
        (lambda: Policy((Step(5),), (Gate(Bad.ERROR, share=0.7), Gate(Bad.HARM, share=0.7))), "1.4"),
        (lambda: Policy((Step(5),), (Gate(Bad.ERROR, share=1.0), HARM)), "add up"),
    ],
)
def test_nonsense_is_refused(make: Callable[[], object], word: str) -> None:
    """With a word on what is wrong."""
    with pytest.raises(ValueError, match=word):
        make()


def test_settings_become_a_policy() -> None:
    """Steps in short and in full, every kind of gate with its own settings, patience by the hold."""
    settings = {
        "steps": [{"weight": 1, "hold": "10m", "min_requests": 200}, 5, {"weight": 100, "hold": "1d"}],
        "alpha": 0.01,
        "gates": {"error": {}, "slow_first_token": {"seconds": 2}, "harm": {}, "cost": {"over_usd": 0.01}},
        "mode": "manual",
        "on_failure": "pause",
    }
    assert policy_of(Rollout.model_validate_json(json.dumps(settings))) == Policy(
        steps=(Step(1, 600, 200), Step(5, 600, 200), Step(100, 86_400, 200, 259_200)),
        gates=(
            Gate(Bad.ERROR),
            Gate(Bad.SLOW_FIRST_TOKEN, seconds=2),
            Gate(Bad.HARM),
            Gate(Bad.COST, over_usd=0.01),
        ),
        alpha=0.01,
        auto=False,
        on_failure=OnFailure.PAUSE,
    )
