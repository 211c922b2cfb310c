"""What was redacted in a prompt comes back in the answer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.safety.vault import Restorer, Vault


def test_the_same_text_has_the_same_placeholder() -> None:
    """So that the model can tell people apart."""
    vault = Vault("")
    shown = [vault.placeholder("EMAIL", text) for text in ("a@b.c", "d@e.f", "a@b.c")]
    assert shown == ["[EMAIL_1]", "[EMAIL_2]", "[EMAIL_1]"]
    assert vault.values == {"[EMAIL_1]": "a@b.c", "[EMAIL_2]": "d@e.f"}


def test_a_placeholder_of_the_callers_own_is_left_alone() -> None:
    """A prompt that has it already gets another one."""
    assert Vault("what is [EMAIL_1]?").placeholder("EMAIL", "a@b.c") == "[EMAIL_2]"


@given(st.lists(st.sampled_from(["[", "EMAIL", "_1", "]", "[EMAIL_1]", "[EMAIL_12]", "x", "[["])), st.data())
def test_pieces_are_put_back_as_the_whole_is(parts: list[str], data: st.DataObject) -> None:
    """However a placeholder is cut; and nothing else is held for ever."""
    values = {"[EMAIL_1]": "a@b.c", "[EMAIL_12]": "d@e.f"}
    text = "".join(parts)
    whole = Restorer(values, escaped=False).feed(text, final=True)
    restorer, out, place = Restorer(values, escaped=False), "", 0
    while place < len(text):
        size = data.draw(st.integers(1, 5))
        out += restorer.feed(text[place : place + size])
        place += size
    assert out + restorer.feed("", final=True) == whole


def test_in_json_it_is_written_as_json() -> None:
    """A secret may hold line breaks."""
    restorer = Restorer({"[SECRET_1]": 'a"\nb'}, escaped=True)
    assert restorer.feed('{"key": "[SECRET_1]"}', final=True) == '{"key": "a\\"\\nb"}'
