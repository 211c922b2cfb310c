"""What must hold inside deployments, models, guards and tenants, and between the names they mention."""

from __future__ import annotations

import pytest

from app.config.rules import once
from tests.support.configs import REMOVED, problems

URL = "http://127.0.0.1:8000/v1"
ROLLED = {"models[0].candidate": "two", "models[0].weight": 5}
GATED = {"steps": [1, 5]}
SHADOW = {"to": "two", "sample": 0.1, "budget": {"window": "day", "usd": 1}}
DAY = {"window": "day", "usd": 1}


def one(changes: dict[str, object]) -> tuple[str, str]:
    """Path and message of the one problem."""
    (problem,) = problems(changes)
    return problem.path, problem.message


def test_a_rule_that_is_kept_says_nothing() -> None:
    """A model with everything that fits together."""
    assert (
        problems({**ROLLED, "models[0].rollout": GATED, "models[0].shadow": SHADOW, "models[0].fallbacks": ["two"]})
        == []
    )


@pytest.mark.parametrize(
    "changes",
    [{"deployments[0].base_url": REMOVED}, {"deployments[0].base_url": None}, {"deployments[0].endpoints": [URL]}],
)
def test_a_deployment_has_addresses_in_one_notation(changes: dict[str, object]) -> None:
    """Neither none nor both."""
    assert one(changes) == ("deployments[0]", "needs either `base_url` or `endpoints`")


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        (
            {"deployments[0].base_url": REMOVED, "deployments[0].endpoints": [URL, f"{URL}/"]},
            "deployments[0].endpoints",
            f"holds `{URL}` 2 times",
        ),
        (
            {"deployments[0].max_output_tokens": 8193},
            "deployments[0].max_output_tokens",
            "is more than `context_window` (8192)",
        ),
        (
            {"deployments[1].headers": {"Authorization": "env:EXTRA_TOKEN"}},
            "deployments[1].headers.authorization",
            "contradicts `api_key`",
        ),
        (
            {"deployments[0].headers": {"X-Api-Key": "typed"}},
            "deployments[0].headers.x-api-key",
            "is a credential in plain text",
        ),
    ],
)
def test_deployments(changes: dict[str, object], path: str, message: str) -> None:
    """Replicas differ, an answer fits into the window, credentials stay hidden and do not contradict."""
    assert one(changes) == (path, message)


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"models[0].stable": "on"}, "models[0].stable", "names the deployment `on`, which does not exist"),
        (
            {**ROLLED, "models[0].candidate": "tow"},
            "models[0].candidate",
            "names the deployment `tow`, which does not exist",
        ),
        (
            {"models[0].fallbacks": ["two", "three"]},
            "models[0].fallbacks[1]",
            "names the deployment `three`, which does not exist",
        ),
        (
            {"models[0].shadow": {**SHADOW, "to": "x"}},
            "models[0].shadow.to",
            "names the deployment `x`, which does not exist",
        ),
        ({"models[0].guard": "default"}, "models[0].guard", "names the guard `default`, which does not exist"),
        ({"models[0].fallbacks": ["two", "two"]}, "models[0].fallbacks", "holds `two` 2 times"),
        ({"models[0].fallbacks": ["one"]}, "models[0].fallbacks", "holds the stable deployment"),
        ({"models[0].candidate": "two"}, "models[0]", "has a candidate without a weight"),
        ({"models[0].weight": 5}, "models[0].weight", "has no candidate to go to"),
        ({"models[0].rollout": GATED}, "models[0].rollout", "has no candidate to roll out"),
        ({**ROLLED, "models[0].candidate": "one"}, "models[0].candidate", "is the stable deployment itself"),
        ({"models[0].shadow": {**SHADOW, "to": "one"}}, "models[0].shadow.to", "is the stable deployment itself"),
        (
            {**ROLLED, "models[0].rollout": {"steps": [1, 5, 5]}},
            "models[0].rollout.steps[2]",
            "is not above the step before it",
        ),
        (
            {**ROLLED, "models[0].rollout": {"steps": [1], "gates": {}}},
            "models[0].rollout.gates",
            "watches nothing",
        ),
        ({"models[0].budgets": [{"window": "day"}]}, "models[0].budgets[0]", "limits nothing"),
    ],
)
def test_models(changes: dict[str, object], path: str, message: str) -> None:
    """What they name exists, arms differ, weights rise."""
    assert one(changes) == (path, message)


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    """From the names that stand in the file."""
    (problem,) = problems({"models[0].fallbacks": ["tow"]})
    assert problem.hint == "Did you mean `two`?"
    (problem,) = problems({"models[0].guard": "default"})
    assert problem.hint == "The file has no guards."


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"guards": [{"name": "g"}]}, "guards[0]", "looks at nothing"),
        (
            {"guards": [{"name": "g", "prompt": {"detectors": ["rules", "rules"]}}]},
            "guards[0].prompt.detectors",
            "holds `rules` 2 times",
        ),
    ],
)
def test_guards(changes: dict[str, object], path: str, message: str) -> None:
    """They look at something, with each detector once."""
    assert one(changes) == (path, message)


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        (
            {"tenants[0].keys[0].models": ["chta"]},
            "tenants[0].keys[0].models[0]",
            "names the model `chta`, which does not exist",
        ),
        (
            {"tenants[0].keys[1]": {"name": "ci", "secret": "env:SLUICEGATE_APP_KEY"}},
            "tenants[0].keys[1].name",
            "`ci` is used twice",
        ),
        (
            {"tenants[0].name": "other"},
            "tenants[0].name",
            "is taken: metrics call the tenants beyond `telemetry.metrics_tenants` so",
        ),
        ({"tenants[0].budgets": [DAY, DAY]}, "tenants[0].budgets[1].usd", "is the second budget in usd for a day"),
        ({"tenants[0].keys[0].budgets": [{"window": "total"}]}, "tenants[0].keys[0].budgets[0]", "limits nothing"),
        ({"budgets": [DAY, {**DAY, "tokens": 1}]}, "budgets[1].usd", "is the second budget in usd for a day"),
    ],
)
def test_tenants_and_budgets(changes: dict[str, object], path: str, message: str) -> None:
    """Keys have names of their own and models that exist; a window has one answer."""
    assert one(changes) == (path, message)


def test_budgets_of_different_windows_or_units_go_together() -> None:
    """A day in a month; tokens and money of one day."""
    assert problems({"budgets": [DAY, {"window": "month", "usd": 5}, {"window": "day", "tokens": 5}]}) == []


def test_one_tenant_may_have_a_key_named_like_another_tenants() -> None:
    """Keys are named within their tenant."""
    other = {"name": "b", "keys": [{"name": "ci", "secret": "env:SLUICEGATE_APP_KEY"}]}
    assert problems({"tenants[1]": other}) == []


def test_names_are_counted_from_the_second() -> None:
    """The first keeps its name."""
    found = list(once([(("a", 0), "x"), (("a", 1), "y"), (("a", 2), "x"), (("a", 3), "x")]))
    assert [loc for loc, _, _ in found] == [("a", 2), ("a", 3)]


def gated(**gates: object) -> dict[str, object]:
    """A model with a rollout that is watched so."""
    return {**ROLLED, "models[0].rollout": {**GATED, "gates": gates}}


@pytest.mark.parametrize(
    ("gates", "path", "message"),
    [
        ({"slow_first_token": {}}, ".slow_first_token", "needs either `seconds` or `quantile`"),
        ({"slow_total": {"seconds": 1, "quantile": 0.9}}, ".slow_total", "needs either `seconds` or `quantile`"),
        ({"error": {"prove": True}}, ".error.prove", "needs a `margin`"),
        ({"error": {"share": 0.7}, "harm": {"share": 0.6}}, "", "share out 1.3 of `alpha`"),
        ({"error": {"share": 1}, "harm": {}}, "", "share out 1 of `alpha`"),
        ({}, "", "watches nothing"),
    ],
)
def test_a_gate_can_be_tested(gates: dict[str, object], path: str, message: str) -> None:
    """It has one threshold, a margin where something is to be proved, and its part of α."""
    assert one(gated(**gates)) == (f"models[0].rollout.gates{path}", message)


def test_gates_that_fit() -> None:
    """All nine, with everything that they may have."""
    plain = {name: {"share": 0.1, "margin": 0.01, "prove": True} for name in ("error", "harm", "refusal", "truncated")}
    others = {
        "slow_first_token": {"quantile": 0.95}, "slow_total": {"seconds": 30}, "cost": {"over_usd": 0.01},
        "bad_format": {}, "low_quality": {"below": 0.5},
    }  # fmt: skip
    assert problems(gated(**plain, **others)) == []


def test_a_hold_is_not_longer_than_the_patience() -> None:
    """Nothing could pass such a step."""
    rollout = {"steps": [{"weight": 1, "hold": 10}, {"weight": 5, "hold": "2m"}], "patience": "1m"}
    assert one({**ROLLED, "models[0].rollout": rollout}) == (
        "models[0].rollout.steps[1].hold",
        "is longer than the rollout's `patience`",
    )
