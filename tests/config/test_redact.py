"""What is shown of a configuration: everything but the secrets, and enough to load it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.config import load, redacted, version
from tests.support.configs import ENVIRON, loaded, small

FIXTURES = sorted(Path("tests/fixtures/config").glob("*.yaml"))


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_what_is_shown_loads_as_the_same_configuration(path: Path) -> None:
    """JSON is YAML, and a reference is what it was."""
    config = load(path, ENVIRON, allow_unbuilt=True)
    assert load(json.dumps(redacted(config)), ENVIRON, allow_unbuilt=True) == config


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_no_secret_is_shown(path: Path) -> None:
    """References stand in their place."""
    shown = json.dumps(redacted(load(path, ENVIRON, allow_unbuilt=True)))
    assert not [value for value in ENVIRON.values() if value in shown]
    assert "env:OPENAI_API_KEY" in shown


def test_addresses_by_reference_are_shown_as_references() -> None:
    """Their passwords are not."""
    config = loaded({"stores.database": "env:DATABASE_URL", "deployments[0].proxy": "env:PROXY_URL"})
    shown = redacted(config)
    assert shown["stores"]["database"] == "env:DATABASE_URL"
    assert shown["deployments"][0]["proxy"] == "env:PROXY_URL"
    assert "hidden-word" not in f"{json.dumps(shown)} {config!r}"


def test_defaults_are_shown() -> None:
    """What is in force, not what was typed."""
    shown = redacted(loaded())
    assert shown["server"]["max_in_flight"] == 1024
    assert shown["deployments"][0]["health"] == "/health"
    price = {"input": 0.05, "output": 0.08, "cached_input": None, "cache_write": None}
    price |= {"reasoning": None, "image": 0.0, "request": 0.0, "long_prompt": None}
    assert shown["deployments"][0]["price"] == price


def test_a_version_names_the_content() -> None:
    """Twelve hexadecimal digits; notation does not matter, any other value does."""
    same = loaded({"server.body_timeout": "1m", "deployments[0].base_url": "http://127.0.0.1:8000/v1/"})
    assert version(loaded()) == version(same)
    assert version(loaded()) != version(loaded({"deployments[0].price.input": 0.050001}))
    assert len(version(loaded())) == len(f"{int(version(loaded()), 16):012x}") == 12


def test_a_version_says_nothing_about_secrets() -> None:
    """It would be a way to test guesses."""
    text = json.dumps(small())
    rotated = load(text, ENVIRON | {"OPENAI_API_KEY": "another", "SLUICEGATE_CI_KEY": "third"})
    assert rotated != loaded()
    assert version(rotated) == version(loaded())


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    """Valid settings, drawn at random."""
    money = st.integers(0, 10**10).map(lambda millionths: millionths / 10**6)
    window = draw(st.integers(1, 10**9))
    return {
        "server.port": draw(st.integers(0, 8080)),
        "server.body_timeout": draw(st.floats(0.001, 86400)),
        "deployments[0].price": {"input": draw(money), "output": draw(money), "cached_input": draw(money | st.none())},
        "deployments[0].context_window": window,
        "deployments[0].max_output_tokens": draw(st.integers(1, window)),
        "deployments[0].cancel_allowance": draw(st.integers(0, 100) | st.just("full")),
        "deployments[0].timeouts.total": draw(st.integers(1, 86400) | st.sampled_from(["10m", "30s", "1h", "5ms"])),
        "models[0].fallbacks": draw(st.sampled_from([[], ["two"]])),
        "budgets": draw(st.sampled_from([[], [{"window": "day", "usd": 0.5}], [{"window": "total", "tokens": 0}]])),
    }


@settings(max_examples=50)
@given(changes())
def test_any_valid_configuration_survives_the_round_trip(drawn: dict[str, Any]) -> None:
    """Money to the last millionth."""
    config = loaded(drawn)
    assert load(json.dumps(redacted(config)), ENVIRON, allow_unbuilt=True) == config
