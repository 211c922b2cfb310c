"""The formats in which conversations are written out."""

from __future__ import annotations

from typing import get_args

import pytest

from app.config import FORMATS
from app.config.formats import FormatName
from tests.support.configs import loaded, messages, problems


def test_every_name_has_a_format() -> None:
    """The setting's names are those that there are."""
    assert set(get_args(FormatName)) == set(FORMATS)
    assert loaded({"deployments[0].prompt_format": "chatml"}).deployments[0].prompt_format == "chatml"


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_what_ends_an_answer_is_a_mark(name: str) -> None:
    """So nobody can say it: it is of the form `<|name|>`, or one of the marks."""
    style = FORMATS[name]
    assert style.stops
    for stop in style.stops:
        assert stop in style.marks or (stop.startswith("<|") and stop.endswith("|>"))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_the_bound_of_a_message_is_one(name: str) -> None:
    """Bytes around whatever one message says."""
    style = FORMATS[name]
    for head, tail in (style.user, style.assistant):
        assert len(f"{head}{style.system[0]}{style.system[1]}{tail}".encode()) <= style.most_bytes


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"prompt_format": "chatmk"}, "prompt_format"),
        ({"provider": "anthropic", "tokenizer": "bound", "prompt_format": "chatml"}, "means nothing to provider"),
        ({"prompt_format": "chatml", "output_cap": "max_completion_tokens"}, "is unknown to `/completions`"),
    ],
)
def test_where_it_means_nothing(changes: dict[str, str], told: str) -> None:
    """It is refused, with its place."""
    (found,) = messages(problems({f"deployments[0].{name}": value for name, value in changes.items()}))
    assert found.startswith("deployments[0].")
    assert told in found
