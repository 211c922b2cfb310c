"""Findings in a request's texts, over several of them too, and what is written in their place."""

from __future__ import annotations

from app.safety.located import apply, locate
from app.safety.prompts import Slot
from app.safety.spans import Scanner
from app.safety.terms import Lexicon, parse
from app.safety.vault import Vault

SCANNER = Scanner(Lexicon([parse("internal codename"), parse("bomb")]), pii=True)


def slots(*texts: str, place: str = "content") -> list[Slot]:
    """A message for each text."""
    return [Slot({place: text}, place, text, "user") for text in texts]


def redacted(*texts: str, place: str = "content") -> tuple[list[str], dict[str, str]]:
    """The texts with everything found taken out, and what stands for what."""
    found = slots(*texts, place=place)
    vault = Vault("".join(texts))
    written = apply(locate(SCANNER, found), found, vault)
    after = [slot.holder[place] for slot in found]
    assert written == sum(len(shown.encode()) * text.count(shown) for text in after for shown in vault.values)
    return after, vault.values


def test_each_item_gets_its_placeholder() -> None:
    """The same for the same."""
    assert redacted("a@b.com and c@d.org", "and a@b.com") == (
        ["[EMAIL_1] and [EMAIL_2]", "and [EMAIL_1]"], {"[EMAIL_1]": "a@b.com", "[EMAIL_2]": "c@d.org"},
    )  # fmt: skip


def test_what_is_split_over_texts_is_found() -> None:
    """Between words and inside one; it is taken out of both."""
    assert redacted("say internal", "codename now") == (
        ["say [REDACTED_1]", " now"],
        {"[REDACTED_1]": "internalcodename"},
    )
    assert redacted("make a bo", "mb")[0] == ["make a [REDACTED_1]", ""]
    assert redacted("card 4111 1111 ", "1111 1111 ok")[0] == ["card [CARD_1]", " ok"]


def test_arguments_are_read_as_json() -> None:
    """Where a text is JSON."""
    assert redacted('{"to": "b\\u006fb@example.com"}', place="arguments")[0] == ['{"to": "[EMAIL_1]"}']


def test_nothing_found_changes_nothing() -> None:
    """Not a character."""
    assert redacted("hello", "", "world") == (["hello", "", "world"], {})
