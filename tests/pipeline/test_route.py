"""Where a request goes: stable or its candidate, then the fallbacks in their order; or why it goes nowhere."""

from __future__ import annotations

import sys
from math import sqrt
from random import Random
from typing import Any

import pytest

from app.errors import INVALID_REQUEST, MODEL_NOT_ALLOWED, MODEL_NOT_FOUND, PERMISSION_DENIED, GatewayError, Outcome
from app.exchange import NO_WISHES, Arm, Operation, Principal, Wishes
from app.pipeline.route import route
from app.table import Table
from tests.pipeline.parts import call, table

ANYONE = Principal("team", "ci")
THIRD: dict[str, Any] = {
    "name": "three", "provider": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m", "context_window": 10,
    "max_output_tokens": 10, "price": {"input": 0, "output": 0},
}  # fmt: skip


def test_one_deployment_and_no_more() -> None:
    """Without fallbacks there is one choice, the stable one."""
    built = table()
    assert route(call(), ANYONE, built).choices == ((Arm.STABLE, built.deployments["one"]),)


@pytest.mark.parametrize("order", [["two", "three"], ["three", "two"]])
def test_fallbacks_in_their_order(order: list[str]) -> None:
    """The order is the operator's."""
    built = table({"deployments[2]": THIRD, "models[0].fallbacks": order})
    expected = [(Arm.STABLE, "one"), *((Arm.FALLBACK, name) for name in order)]
    assert [(arm, found.name) for arm, found in route(call(), ANYONE, built).choices] == expected


@pytest.mark.parametrize("model", ["nobody", "Chat", "chat ", "one"])
def test_an_unknown_model(model: str) -> None:
    """404 names the field and the model; a deployment's name is no model."""
    with pytest.raises(GatewayError) as refused:
        route(call(model=model), ANYONE, table())
    assert (refused.value.code, refused.value.param) == (MODEL_NOT_FOUND, "model")
    assert refused.value.outcome is Outcome.REFUSED_INVALID
    assert f"`{model}`" in refused.value.message


def test_a_long_name_is_cut_in_the_message() -> None:
    """A caller's megabyte does not come back."""
    with pytest.raises(GatewayError) as refused:
        route(call(model="x" * 100_000), ANYONE, table())
    assert len(refused.value.message) < 200


def test_a_key_that_may_use_some_models() -> None:
    """Those it may use are routed, another is 403; one that does not exist is 404 for everybody."""
    built = table({"models[1]": {"name": "mini", "stable": "two"}})
    limited = Principal("team", "ci", frozenset({"mini"}))
    assert route(call(model="mini"), limited, built).choices[0][1].name == "two"
    with pytest.raises(GatewayError) as refused:
        route(call(), limited, built)
    assert (refused.value.code, refused.value.outcome) == (MODEL_NOT_ALLOWED, Outcome.REFUSED_AUTH)
    with pytest.raises(GatewayError) as unknown:
        route(call(model="nobody"), limited, built)
    assert unknown.value.code is MODEL_NOT_FOUND


def test_a_key_that_may_use_nothing() -> None:
    """An empty set is not the same as no limit."""
    with pytest.raises(GatewayError) as refused:
        route(call(), Principal("team", "ci", frozenset()), table())
    assert refused.value.code is MODEL_NOT_ALLOWED


def split(weight: float, **settings: Any) -> Table:
    """A model with a candidate and a fallback."""
    wanted = {"candidate": "two", "weight": weight, "fallbacks": ["three"], **settings}
    return table({"deployments[2]": THIRD, **{f"models[0].{name}": value for name, value in wanted.items()}})


def arm(built: Table, wishes: Wishes = NO_WISHES, chance: float = 0.0, who: Principal = ANYONE, **fields: Any) -> Arm:
    """The arm that a request is assigned to."""
    return route(call(**fields), who, built, wishes, chance).choices[0][0]


def test_an_arm_by_chance() -> None:
    """A request that belongs to nobody: the candidate's below the weight, also a fraction of a percent."""
    assert [arm(split(2.5), chance=chance) for chance in (0.0, 0.0249, 0.0251, 0.999)] == [
        Arm.CANDIDATE,
        Arm.CANDIDATE,
        Arm.STABLE,
        Arm.STABLE,
    ]
    assert arm(split(0), chance=0.0) is Arm.STABLE
    assert arm(split(100), chance=0.9999999) is Arm.CANDIDATE


def test_what_the_candidate_fails_goes_to_stable_first() -> None:
    """Then to the fallbacks; a request of stable never falls back to the candidate."""
    built = split(50)
    assert [(role, one.name) for role, one in route(call(), ANYONE, built, chance=0.1).choices] == [
        (Arm.CANDIDATE, "two"),
        (Arm.FALLBACK, "one"),
        (Arm.FALLBACK, "three"),
    ]
    assert [one.name for _, one in route(call(), ANYONE, built, chance=0.9).choices] == ["one", "three"]


def test_a_candidate_that_is_a_fallback_too_is_tried_once() -> None:
    """It is not its own rescue."""
    plan = route(call(), ANYONE, split(50, fallbacks=["two", "three"]), chance=0.1)
    assert [one.name for _, one in plan.choices] == ["two", "one", "three"]


def test_whose_request_it_is() -> None:
    """The header, else `safety_identifier`, else `user`; only their order matters, and chance no more."""
    built = split(50)
    plans = [
        route(call(user="c", safety_identifier="b"), ANYONE, built, Wishes(affinity="a"), 0.1),
        route(call(safety_identifier="a", user="d"), ANYONE, built, chance=0.9),
        route(call(user="a"), ANYONE, built, chance=0.5),
    ]
    assert len({(plan.place, plan.choices) for plan in plans}) == 1
    assert route(call(user="b"), ANYONE, built).place != plans[0].place
    assert route(call(), ANYONE, built).place is None
    assert route(call(user=7), ANYONE, built).place is None


def test_users_of_two_tenants_are_two() -> None:
    """The same name means somebody else there."""
    places = {route(call(user="a"), Principal(tenant, "ci"), split(50)).place for tenant in ("red", "blue")}
    assert len(places) == 2


def test_what_keeps_to_one_arm() -> None:
    """`key`: the key, whatever user; `none`: nothing."""
    by_key = split(50, sticky="key")
    assert route(call(user="a"), ANYONE, by_key).place == route(call(user="b"), ANYONE, by_key).place
    assert route(call(), ANYONE, by_key).place != route(call(), Principal("team", "other"), by_key).place
    drawn = split(50, sticky="none")
    assert [arm(drawn, Wishes(affinity="a"), chance, user="a") for chance in (0.4, 0.6)] == [Arm.CANDIDATE, Arm.STABLE]


def test_ten_thousand_users_from_10_to_20_percent() -> None:
    """Only users that move to the candidate change arm; both shares are within binomial noise of the weight."""
    users = [call(user=f"user-{number}") for number in range(10_000)]

    def served(weight: float) -> set[int]:
        built = split(weight)
        plans = (route(one, ANYONE, built) for one in users)
        return {number for number, plan in enumerate(plans) if plan.choices[0][0] is Arm.CANDIDATE}

    ten, twenty = served(10), served(20)
    assert ten < twenty
    for found, share in ((ten, 0.1), (twenty, 0.2)):
        assert abs(len(found) - 10_000 * share) <= 4 * sqrt(10_000 * share * (1 - share))


def test_random_requests_have_the_weights_share() -> None:
    """Within four standard deviations of 10 000 requests."""
    built, chance = split(12.5), Random(1)
    hits = sum(arm(built, chance=chance.random()) is Arm.CANDIDATE for _ in range(10_000))
    assert abs(hits - 1250) <= 4 * sqrt(10_000 * 0.125 * 0.875)


def test_a_candidate_that_does_not_speak_the_operation() -> None:
    """Stable serves it, and nobody counts it: nothing was drawn."""
    built = split(100, candidate="two")
    anthropic = table(
        {"deployments[1].provider": "anthropic", "models[0].candidate": "two", "models[0].weight": 100},
    )
    assert arm(anthropic) is Arm.CANDIDATE
    for operation in (Operation.COMPLETION, Operation.EMBEDDINGS):
        assert route(call(operation), ANYONE, built).choices[0][0] is Arm.CANDIDATE
        plan = route(call(operation), ANYONE, anthropic)
        assert (plan.choices[0][0], plan.split) == (Arm.STABLE, None)


PINNER = Principal("team", "ci", pin=True)


@pytest.mark.parametrize(
    ("name", "role"), [("one", Arm.STABLE), ("two", Arm.CANDIDATE), ("three", Arm.FALLBACK)], ids=str
)
def test_a_pinned_deployment_and_no_other(name: str, role: Arm) -> None:
    """Whatever the weight says; it is not counted as drawn, and nothing hides its failures."""
    plan = route(call(user="a"), PINNER, split(0), Wishes(pin=name))
    assert [(found, one.name) for found, one in plan.choices] == [(role, name)]
    assert plan.split is None


def test_who_may_not_pin() -> None:
    """A key without permission, whatever it names; a deployment that the model does not have."""
    with pytest.raises(GatewayError) as refused:
        route(call(), ANYONE, split(10), Wishes(pin="two"))
    assert (refused.value.code, refused.value.param) == (PERMISSION_DENIED, "x-sluicegate-pin")
    with pytest.raises(GatewayError) as unknown:
        route(call(), PINNER, split(10), Wishes(pin="four" * 100))
    assert (unknown.value.code, unknown.value.param) == (INVALID_REQUEST, "x-sluicegate-pin")
    assert len(unknown.value.message) < 200


def test_routing_is_a_few_calls() -> None:
    """Of Python functions, whatever the number of deployments and users: 2 µs where it was measured, of 3 allowed."""
    built, one, calls = split(10), call(user="user-4711"), []
    sys.setprofile(lambda frame, what, _: calls.append(frame.f_code.co_qualname) if what == "call" else None)
    try:
        route(one, ANYONE, built, chance=0.5)
    finally:
        sys.setprofile(None)
    assert 0 < len(calls) <= 8, calls
