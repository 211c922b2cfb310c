"""Counting tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.upstream.words import Vocabulary, count, generated, message_tokens, pieces


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", []), ("a", ["a"]), ("a b  c", ["a", " b", " ", " c"]), (" a", [" a"]), ("a\nb", ["a\nb"]), (" ", [" "])],
)
def test_a_text_is_cut_before_every_space(text: str, tokens: list[str]) -> None:
    """The rule of the module's docstring."""
    assert pieces(text) == tokens


@given(st.text(alphabet=st.sampled_from("ab \n水"), max_size=30))
def test_tokens_give_the_text_back_and_are_counted_right(text: str) -> None:
    """Whatever the text."""
    assert "".join(pieces(text)) == text
    assert count(text) == len(pieces(text))
    assert Vocabulary().text(Vocabulary().ids("")) == ""
    words = Vocabulary()
    assert words.text(words.ids(text)) == text


@pytest.mark.parametrize("unicode", [True, False])
def test_generated_text_has_the_length_that_was_asked_for(*, unicode: bool) -> None:
    """And the same arguments give the same text, others another one."""
    tokens = generated(100, 5, unicode=unicode)
    assert tokens == tuple(pieces("".join(tokens)))
    assert len(tokens) == 100
    assert generated(100, 6, unicode=unicode) != tokens


def test_a_prompt_costs_its_words_three_tokens_a_message_and_85_an_image() -> None:
    """So that expected usage can be written down in a test."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "what is this"}, image]},
        {"role": "assistant", "content": None},
    ]
    assert message_tokens(messages) == (3 + 2) + (3 + 3 + 85) + 3
