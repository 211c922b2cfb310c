"""Settings that do nothing yet are refused, and the list of them is true."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.config import load
from app.config.fields import walk
from app.config.not_yet import NOT_YET
from tests.support.configs import ENVIRON, messages, problems, problems_of, small

COMPLETE = Path("tests/fixtures/config/complete.yaml")


def test_the_complete_example_uses_exactly_these_unbuilt_settings() -> None:
    """`check` says so, with the lines; everything else in it is built."""
    assert [(problem.line, problem.path) for problem in problems_of(COMPLETE.read_text())] == []


@pytest.mark.parametrize("entry", NOT_YET, ids=lambda entry: entry.pattern)
def test_every_entry_is_about_a_setting_that_exists(entry: object) -> None:
    """An entry with a typo would refuse nothing."""
    assert getattr(entry, "pattern", "") in {path for path, _ in walk()}


def test_no_setting_has_two_entries() -> None:
    """Whoever builds a capability deletes one line a setting."""
    patterns = [entry.pattern for entry in NOT_YET]
    assert len(patterns) == len(set(patterns))


@pytest.mark.parametrize(
    ("path", "value", "capability"),
    [
        ("telemetry.capture_content", True, "the redactor of traced content"),
    ],
)
def test_what_does_nothing_is_refused_with_what_it_waits_for(path: str, value: object, capability: str) -> None:
    """One problem, at the setting."""
    assert messages(problems({path: value}, allow_unbuilt=False)) == [
        f"{path} does nothing yet: it waits for {capability}"
    ]
    assert problems({path: value}) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("stores", {"database": "sqlite+aiosqlite:///sluicegate.db", "limits": "memory", "spool_fsync": "grouped"}),
        ("telemetry", {"otlp_endpoint": None, "capture_content": False}),
        ("models[0].candidate", None),
        ("models[0].budgets", []),
        ("models[0].token_limit", "reject"),
        ("models[0].token_limit", "clamp"),
        ("tenants[0].limits", {}),
        ("tenants[0].limits", {"concurrent": None}),
        ("tenants[0].allow_shadow", True),
        ("guards", []),
        ("budgets", None),
    ],
)
def test_what_asks_for_nothing_may_be_written(path: str, value: object) -> None:
    """Defaults, empty lists and sections, null."""
    assert problems({path: value}, allow_unbuilt=False) == []


def test_zero_is_not_false() -> None:
    """A value is off only as what it is."""
    assert problems({"telemetry.capture_content": False}, allow_unbuilt=False) == []
    assert problems({"telemetry.capture_content": 0}, allow_unbuilt=False) != []


def test_a_wrong_value_is_told_once() -> None:
    """Not also as something that is not built."""
    (problem,) = problems({"deployments[0].provider": "vlm"}, allow_unbuilt=False)
    assert problem.hint == "Did you mean `vllm`?"


def test_what_is_built_loads_without_permission() -> None:
    """The small configuration asks for nothing that is missing."""
    assert load(json.dumps(small()), ENVIRON).models[0].name == "chat"
