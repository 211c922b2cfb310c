"""Problems as people and machines read them."""

from __future__ import annotations

import pytest

from app.config.problems import ConfigError, Problem, as_json, describe, show, wrong

BOTH = [
    Problem("models[0].stable", 7, "names the deployment `on`, which does not exist", "Did you mean `one`?"),
    Problem("", None, "the file is empty"),
]


@pytest.mark.parametrize(
    ("loc", "path"),
    [
        ((), ""),
        (("server",), "server"),
        (("deployments", 1, "price", "input"), "deployments[1].price.input"),
        (("a", 0, 2, "b"), "a[0][2].b"),
        (("x" * 500, "y"), "x" * 80 + ".y"),
    ],
)
def test_places_are_shown_as_the_docs_write_them(loc: tuple[str | int, ...], path: str) -> None:
    """Names with dots, elements in brackets; a name that never ends is cut."""
    assert show(loc) == path


def test_people_get_one_block_a_problem() -> None:
    """Line, place and message, then what would be right."""
    assert describe(BOTH) == (
        "line 7: models[0].stable: names the deployment `on`, which does not exist\n"
        "    Did you mean `one`?\n"
        "the file is empty"
    )


def test_machines_get_every_field() -> None:
    """The same keys for every problem, null where there is nothing to say."""
    assert as_json(BOTH)[1] == {"path": "", "line": None, "message": "the file is empty", "hint": None}
    assert as_json(BOTH)[0]["hint"] == "Did you mean `one`?"


def test_the_exception_holds_and_tells_all_problems() -> None:
    """Its text is what people read."""
    error = ConfigError(BOTH)
    assert error.problems == BOTH
    assert str(error) == describe(BOTH)


def test_a_validators_words_are_not_taken_for_a_template() -> None:
    """Braces in a message or a hint stay what they are."""
    error = wrong("holds {hint}", "write `{a: b}`")
    assert error.context == {"message": "holds {hint}", "hint": "write `{a: b}`"}
