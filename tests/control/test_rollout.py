"""A rollout as a value: how it begins, what is refused, what the store and the table get, what a file asks in vain."""

from __future__ import annotations

from typing import Any

import pytest

from app.config import Config, ConfigError
from app.control.lifecycle import Event, Refused, State
from app.control.rollout import Ramp, differences, read, started
from app.exchange import Arm
from app.table import Watch, build, with_rollouts
from tests.support.configs import loaded

ROLLED: dict[str, Any] = {
    "models[0].candidate": "two",
    "models[0].weight": 0,
    "models[0].rollout": {"steps": [1, 50, 100], "gates": {"error": {}, "cost": {"over_usd": 0.01}}},
}


def configured(**changes: Any) -> Config:
    """A model with a rollout, changed below `models[0]`."""
    return loaded({**ROLLED, **{f"models[0].{name}": value for name, value in changes.items()}})


def begun(config: Config | None = None, before: Ramp | None = None, **asked: Any) -> Ramp:
    """A rollout of it that has just started."""
    return started(config or configured(), "chat", before, asked, "because")


def test_it_begins_at_its_first_step() -> None:
    """With the candidate and the settings of the file."""
    ramp = begun()
    assert (ramp.stable, ramp.candidate, ramp.run, ramp.weight) == ("one", "two", 1, 1.0)
    assert (ramp.progress.state, ramp.progress.reason, ramp.active) == (State.RUNNING, "because", True)
    assert [str(gate.kind) for gate in ramp.policy.gates] == ["error", "cost"]


def test_what_is_asked_for_comes_first() -> None:
    """Settings and candidate of the request, also where the file has none."""
    bare = loaded()
    ramp = begun(bare, candidate="two", rollout={"steps": [10], "gates": {"low_quality": {"below": 0.5}}})
    assert (ramp.weight, ramp.heeds_scores) == (10.0, True)
    assert not begun().heeds_scores


@pytest.mark.parametrize(
    ("changes", "asked", "words"),
    [
        ({"candidate": None, "weight": None, "rollout": None}, {}, "has no candidate"),
        ({"rollout": None}, {}, "has no `rollout`"),
        ({}, {"candidate": "three"}, "no deployment `three`"),
        ({}, {"candidate": "one"}, "the stable deployment itself"),
        ({}, {"rollout": {"steps": [5, 1]}}, "must rise"),
    ],
)
def test_what_cannot_begin(changes: dict[str, Any], asked: dict[str, Any], words: str) -> None:
    """Refused, in words for whoever asked."""
    with pytest.raises(ValueError, match=words):
        begun(configured(**changes), **asked)


def test_a_model_that_is_not_there() -> None:
    """Nor settings that are none."""
    with pytest.raises(Refused, match="no model"):
        started(configured(), "nobody", None, {}, "")
    with pytest.raises(ConfigError):
        begun(rollout={"steps": "all"})


def test_one_at_a_time() -> None:
    """A second one waits until the first is over; then it draws anew, and its weights are numbered on."""
    first = begun()
    with pytest.raises(Refused, match="has a rollout already; it is running"):
        begun(before=first)
    over = first.after(Event.ABORT, "enough")
    again = begun(before=over)
    assert again.run == 2
    assert again.progress.epoch > over.progress.epoch > first.progress.epoch
    assert again.progress.attempt == 2


def test_the_store_gives_back_what_it_got() -> None:
    """Every part of it."""
    ramp = begun().after(Event.SET_WEIGHT, "by hand", hand_weight=12.5)
    assert read("chat", ramp.document()) == ramp
    assert ramp.weight == 12.5


def test_the_table_gets_its_weight() -> None:
    """And who watches, while it is under way; over, the weight stays and nobody watches."""
    config = configured(weight=30)
    ramp = begun(config)

    def split(one: Ramp) -> Any:
        return with_rollouts(build(config), {"chat": one.live()}).models["chat"].split

    assert (split(ramp).weight, split(ramp).watch) == (1.0, Watch("chat", 1, 120.0, reads=False))
    promoted, aborted = ramp.after(Event.PROMOTE, ""), ramp.after(Event.ABORT, "")
    assert (split(promoted).weight, split(promoted).watch) == (100.0, None)
    assert (split(aborted).weight, split(aborted).watch) == (0.0, None)
    assert split(begun(config, aborted)).salt != split(ramp).salt
    reading = begun(config, rollout={"steps": [1], "gates": {"refusal": {}}})
    assert split(reading).watch.reads


def test_while_the_store_is_unknown_a_rolled_candidate_gets_nothing() -> None:
    """It may have been rolled back; one that no rollout moves keeps the file's weight."""
    unknown = with_rollouts(build(configured(weight=30)), None).models["chat"].split
    plain = with_rollouts(build(configured(weight=30, rollout=None)), None).models["chat"].split
    none = with_rollouts(build(configured(weight=30)), {}).models["chat"].split
    assert unknown is not None
    assert plain is not None
    assert none is not None
    assert (unknown.weight, plain.weight, none.weight) == (0.0, 30.0, 30.0)


def test_a_rollout_is_about_its_pair() -> None:
    """One that is over says nothing about another candidate; none says anything once stable is another one."""
    third = {"deployments[2]": {**_deployment(), "name": "three"}}
    ramp = begun()
    other = build(loaded({**ROLLED, **third, "models[0].candidate": "three", "models[0].weight": 20}))
    over = ramp.after(Event.PROMOTE, "")
    model = with_rollouts(other, {"chat": over.live()}).models["chat"]
    assert model.split is not None
    assert (model.split.candidate.name, model.split.weight) == ("three", 20.0)
    model = with_rollouts(other, {"chat": ramp.live()}).models["chat"]
    assert model.split is not None
    assert (model.split.candidate.name, model.split.weight) == ("two", 1.0)
    assert model.pins["two"][0] is Arm.CANDIDATE
    merged = build(loaded({"models[0].stable": "two"}))
    assert with_rollouts(merged, {"chat": over.live()}).models["chat"].split is None


def _deployment() -> dict[str, Any]:
    return {
        "provider": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m", "context_window": 10,
        "max_output_tokens": 10, "price": {"input": 0, "output": 0},
    }  # fmt: skip


def test_what_the_file_asks_in_vain() -> None:
    """Each setting that differs from a rollout under way; nothing once it is over, nothing of another model."""
    ramp = begun()
    assert differences(configured(weight=1), ramp) == []
    assert differences(configured(weight=7), ramp) == ["weight 7, the rollout is at 1"]
    assert differences(configured(weight=1, sticky="key"), ramp) == ["sticky key, the rollout began with user"]
    steps = {**ROLLED["models[0].rollout"], "steps": [2, 100]}
    assert differences(configured(weight=1, rollout=steps), ramp) == [
        "other settings of the rollout: they hold for the next one"
    ]
    assert len(differences(configured(stable="two", candidate="one", weight=1), ramp)) == 2
    assert differences(configured(weight=7), ramp.after(Event.ABORT, "")) == []
    assert differences(configured(weight=7, name="other"), ramp) == []
