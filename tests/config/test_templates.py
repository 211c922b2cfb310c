"""Prompt templates in the configuration: versions, references, what `check` says of those that lead nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from app.config import SECTIONS, Template, named
from app.config.templates import label_of
from tests.support.configs import loaded, messages, problems

TWO: list[dict[str, Any]] = [
    {"name": "helpful", "tone": "Be brief."},
    {"name": "helpful", "version": 2, "tone": "Be very brief."},
]
GUARD = {"name": "g", "prompt": {"detectors": ["rules"]}}


def test_a_template_has_a_version() -> None:
    """Written as a number or as text; 1 where nothing is written."""
    first, second = loaded({"templates": TWO}).templates
    assert (first.label, second.label) == ("helpful@1", "helpful@2")
    assert loaded({"templates": [{**TWO[0], "version": "2026-11-27"}]}).templates[0].label == "helpful@2026-11-27"


def test_space_around_a_section_does_not_count() -> None:
    """As YAML's blocks end in a line break."""
    assert loaded({"templates": [{"name": "a", "safety": "  Be kind.\n"}]}).templates[0].safety == "Be kind."


@pytest.mark.parametrize("place", ["models[0].template", "deployments[0].template", "guards[0].safety_prompt"])
def test_what_names_a_template(place: str) -> None:
    """One that exists, and is clear; else the place is told, with what would be right."""
    usual = {"templates": TWO, "guards": [GUARD]}
    assert problems({**usual, place: "helpful@2"}, allow_unbuilt=False) == []
    (unclear,) = problems({**usual, place: "helpful"})
    assert (unclear.path, unclear.message) == (place, "names the template `helpful`, which has 2 versions")
    assert unclear.hint == "Write `helpful@1` or `helpful@2`."
    (absent,) = problems({**usual, place: "helpful@3"})
    assert (absent.path, absent.message) == (place, "names the template `helpful@3`, which does not exist")
    assert absent.hint is not None
    assert "helpful@" in absent.hint
    (none,) = problems({"guards": [GUARD], place: "helpful"})
    assert none.hint == "The file has no templates."
    (odd,) = problems({**usual, place: "no such@name@1"})
    assert odd.message == "does not name a template"


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ({"name": "a"}, "templates[0] says nothing"),
        ({"name": "a@1", "tone": "x"}, "templates[0].name is not a template's name"),
        ({"name": "a", "tone": " \n"}, "templates[0].tone must be text"),
        ({"name": "a", "tone": 5}, "templates[0].tone must be text"),
        ({"name": "a", "tone": "x", "version": "1 2"}, "templates[0].version is not a version"),
        ({"name": "a", "tone": "x", "version": True}, "templates[0].version is not a version"),
        ({"tone": "x"}, "templates[0].name is required"),
        ({"name": "a", "tone": "x", "colour": "y"}, "templates[0].colour is not a setting"),
    ],
)
def test_what_is_no_template(template: dict[str, Any], told: str) -> None:
    """Told with its place."""
    assert told in messages(problems({"templates": [template]}))


def test_a_version_stands_once() -> None:
    """The second one of the same name and version is refused."""
    found = problems({"templates": [TWO[0], {**TWO[0], "version": "1"}]})
    assert messages(found) == ["templates[1].name `helpful@1` is used twice"]


def test_what_a_reference_may_mean() -> None:
    """A name, or a name with a version."""
    labels = ("a@1", "a@2", "b@1")
    assert [named(one, labels) for one in ("a", "a@2", "b", "c")] == [["a@1", "a@2"], ["a@2"], ["b@1"], []]
    assert [label_of(one) for one in ({"name": "a"}, {"name": "a", "version": 2}, {}, "a")] == [
        "a@1",
        "a@2",
        None,
        None,
    ]


def test_every_section_is_a_setting() -> None:
    """And nothing else is one, but name and version."""
    assert {"name", "version", *SECTIONS} == set(Template.model_fields)
