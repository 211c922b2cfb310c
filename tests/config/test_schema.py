"""The whole file: its sections, and that all of them are documented."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.config.fields import walk
from app.config.schema import Config
from tests.support.configs import REMOVED, loaded, messages, problems


def test_the_sections_are_those_of_the_contract() -> None:
    """Nine, by these names; `safety` and `templates`."""
    assert list(Config.model_fields) == [
        *("server", "stores", "telemetry", "safety", "deployments", "models", "templates", "guards", "tenants"),
        *("budgets", "admin"),
    ]


@pytest.mark.parametrize("section", ["deployments", "models"])
@pytest.mark.parametrize("written", [REMOVED, [], None])
def test_a_gateway_serves_something(section: str, written: object) -> None:
    """Without deployments or models there is nothing to do."""
    assert section in [problem.path for problem in problems({section: written})]


@pytest.mark.parametrize("section", list(Config.model_fields))
def test_a_section_is_never_plain_text(section: str) -> None:
    """It is a list or a mapping, and the message says which."""
    found = messages(problems({section: "text"}))
    assert f"{section} must be a list" in found or f"{section} must be a section with names and values" in found


@pytest.mark.parametrize("section", ["server", "stores", "telemetry", "guards", "tenants", "budgets", "admin"])
def test_a_section_whose_settings_are_commented_out_is_as_if_absent(section: str) -> None:
    """YAML reads it as null."""
    assert loaded({section: None}) == loaded({section: REMOVED} if section == "tenants" else {})


def test_a_configuration_does_not_change() -> None:
    """Not even in its parts."""
    config = loaded()
    with pytest.raises(ValidationError):
        config.server.port = 1
    with pytest.raises(ValidationError):
        config.models = ()


def test_every_setting_says_what_it_means() -> None:
    """The reference page and the hints have nothing else to say."""
    assert not [path for path, field in walk() if not field.description]
