"""No personal data and no listed term is left in a text; the rest of it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.guarding import Guard, PromptStage
from app.safety.redactor import TAKEN, Redactor

STAGE = PromptStage(detectors=("pii",))
GUARDS = (
    Guard(name="one", blocklist=("forbidden fruit",), prompt=STAGE),
    Guard(name="two", blocklist=("internal codename",), prompt=STAGE),
)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("nothing to see", "nothing to see"),
        ("write to ada@example.com, now", f"write to {TAKEN}, now"),
        ("a FORBIDDEN  fruit of the internal codename", f"a {TAKEN} of the {TAKEN}"),
        ("f\u200borbidden fruit", TAKEN),
        ("", ""),
    ],
)
def test_what_is_left(text: str, left: str) -> None:
    """Of every guard's list, in disguise too."""
    assert Redactor(GUARDS)(text) == left


def test_it_follows_the_configuration() -> None:
    """Without a guard personal data goes all the same."""
    redactor = Redactor()
    assert redactor("the internal codename of ada@example.com") == f"the internal codename of {TAKEN}"
    redactor.prepare(GUARDS)
    assert redactor("the internal codename") == f"the {TAKEN}"


@given(st.text(max_size=20), st.text(max_size=20))
def test_it_is_gone_whatever_stands_around_it(before: str, after: str) -> None:
    """And nothing is found in what is left."""
    redactor = Redactor(GUARDS)
    left = redactor(f"{before} forbidden fruit {after}")
    assert "forbidden fruit" not in left
    assert TAKEN in left
