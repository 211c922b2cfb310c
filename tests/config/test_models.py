"""Models: notations of a rollout, defaults, bounds."""

from __future__ import annotations

import pytest

from app.config.models import Gate, Gates, Model, Rollout
from tests.support.configs import loaded, problems

ROLLOUT: dict[str, object] = {"steps": [{"weight": 1, "hold": "10m", "min_requests": 50}, 5, 25.5, 100]}


def rolled(rollout: dict[str, object]) -> Rollout:
    """The rollout as it is loaded."""
    changes = {"models[0].candidate": "two", "models[0].weight": 5, "models[0].rollout": rollout}
    found = loaded(changes).models[0].rollout
    assert found is not None
    return found


def test_defaults() -> None:
    """A model needs a name and a stable deployment."""
    assert loaded().models == (
        Model(name="chat", stable="one", sticky="user", token_limit="reject", fallbacks=(), budgets=()),
    )


def test_steps_may_be_plain_weights() -> None:
    """The other settings of a step then have their defaults."""
    steps = rolled(ROLLOUT).steps
    assert [step.weight for step in steps] == [1, 5, 25.5, 100]
    assert [(step.hold, step.min_requests) for step in steps[:2]] == [(600, 50), (600, 200)]


def test_a_rollout_watches_for_errors_where_nothing_is_said() -> None:
    """And rolls back by itself at the contract's level."""
    rollout = rolled(ROLLOUT)
    assert rollout.gates == Gates(error=Gate())
    assert (rollout.alpha, rollout.mode, rollout.on_failure) == (0.05, "auto", "rollback")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("stable", None, "must be a name"),
        ("weight", 101, "must be at most 100"),
        ("weight", -1, "must be at least 0"),
        ("weight", "5%", "must be a number"),
        ("sticky", "session", "must be one of `user`, `key`, `none`, not `session`"),
        ("token_limit", "drop", "must be one of `reject`, `clamp`, `truncate`, `summarise`, `chunk`, not `drop`"),
        ("fallbacks", "two", "must be a list"),
        ("drop_params", ["messages"], "is a field that no request can do without, or that bounds what it may cost"),
        ("drop_params", ["seed", "seed"], "holds `seed` 2 times"),
        ("rollout", {}, "is required"),
        ("rollout.steps", [], "must not be empty"),
        ("rollout.steps", [0], "must be more than 0"),
        ("rollout.steps", ["5"], "must be a section with names and values"),
        ("rollout", {"steps": [1], "alpha": 0}, "must be more than 0"),
        ("rollout", {"steps": [1], "alpha": 0.6}, "must be at most 0.5"),
        ("rollout", {"steps": [1], "gates": {"eror": {}}}, "is not a setting"),
        ("rollout", {"steps": [1], "gates": {"cost": {"over_usd": -1}}}, "must be from 0 to 1000000000 US dollars"),
        ("shadow", {"to": "two", "sample": 0.1}, "is required"),
        ("shadow", {"to": "two", "sample": 2, "budget": {"window": "day", "usd": 1}}, "must be at most 1"),
    ],
)
def test_what_is_out_of_bounds_is_refused(path: str, value: object, message: str) -> None:
    """At or below the setting."""
    (problem,) = problems({f"models[0].{path}": value})
    assert problem.path.startswith(f"models[0].{path}")
    assert problem.message == message
