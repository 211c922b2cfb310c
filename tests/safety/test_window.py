"""One text in pieces: what leaves is what would leave of the whole, and nothing waits that cannot become a match."""

from __future__ import annotations

import random
import re

import pytest

from app.safety.spans import Scanner
from app.safety.terms import Lexicon, Match, parse
from app.safety.window import MOST_HELD, Window, counted, merged

SCANNER = Scanner(
    Lexicon(
        [
            parse(term)
            for term in ("internal codename", "bomb", "kill*", "caf\u00e9", "\u7206\u5f3e", "as is", "bob", "\u00a7")
        ]
    ),
    pii=True,
)
REDACTING = {"blocklist": "redact", "pii": "redact"}
BLOCKING = {"blocklist": "block", "pii": "block"}
FRAGMENTS = [
    "internal codename", "intern4l  code-name", "bomb", "b o m b", "b.o.m.b", "bo",
    "killing", "caf\xe9", "cafe\u0301", "\u7206\u5f3e", "\u7206 \u5f3e", "as is",
    "bobobob", "\xa7", " ", "  ", "\n", ".",
    "-", "hello", "2024", "US", "\u200b", "4111 1111 1111 1111",
    "4111-1111-1111-1111", "alice@example.com", "a@b", "@", ".com", "DE89 3704 0044 0532 0130 00",
    "DE8", "536-90-4399", "+49 30 901820", "(555) 234-5678", "AB 12 34 56 C", "sk-",
    "a1b2c3d4e5f6g7h8i9j0", "\uff11\uff12\uff13", "\uff76\uff9e", "\u306e", "12345678Z", "1",
    "0", "+", "(", "AKIA", "ABCDEFGH12345678", "-----BEGIN RSA PRIVATE" + " KEY-----",
]  # fmt: skip


def whole(text: str, actions: dict[str, str], *, escaped: bool = False) -> str:
    """What leaves of a text that comes at once."""
    return Window(SCANNER, actions, escaped=escaped).feed(text, final=True)


def pieces(text: str, chance: random.Random) -> list[str]:
    """A text cut anywhere."""
    cut: list[str] = []
    while text:
        size = chance.choice((1, 1, 2, 3, 5, 8, 30))
        cut.append(text[:size])
        text = text[size:]
    return cut


def in_pieces(text: str, actions: dict[str, str], chance: random.Random, *, escaped: bool = False) -> str:
    """What leaves of a text that is cut anywhere."""
    window = Window(SCANNER, actions, escaped=escaped)
    out = ""
    for piece in pieces(text, chance):
        out += window.feed(piece)
        if window.cut:
            return out
    return out + window.feed("", final=True)


def generated(chance: random.Random) -> str:
    """A text of fragments, some of them glued together."""
    return chance.choice(("", " ")).join(chance.choices(FRAGMENTS, k=chance.randint(1, 12)))


@pytest.mark.parametrize("block", range(4))
def test_redacting_pieces_is_redacting_the_whole(block: int) -> None:
    """Whatever is cut where; overlapping items may be called by another name."""
    for seed in range(block * 100, block * 100 + 100):
        chance = random.Random(seed)
        text = generated(chance)
        called = [
            re.sub(r"\[[A-Z_]+\]", "#", out) for out in (whole(text, REDACTING), in_pieces(text, REDACTING, chance))
        ]
        assert called[0] == called[1], seed


def test_blocking_pieces_is_blocking_the_whole() -> None:
    """Nothing of the first match leaves, everything in front of it does."""
    for seed in range(300):
        chance = random.Random(seed)
        text = generated(chance)
        assert whole(text, BLOCKING).startswith(in_pieces(text, BLOCKING, chance)), seed


@pytest.mark.parametrize(
    ("fed", "left"),
    [
        (["The ", "bo", "mb ", "is"], ["The ", "", "", ""]),
        (["hello", " wor", "ld"], ["", "hello ", ""]),
        (["say b", " o m", "x"], ["say ", "", "b o "]),
        (["\u7206", "\u5f3e"], ["", ""]),
        (["\u3053\u306e", "\u306f"], ["\u3053\u306e", "\u306f"]),
    ],
)
def test_only_what_may_become_a_match_waits(fed: list[str], left: list[str]) -> None:
    """Everything else leaves with the piece that it came in."""
    window = Window(SCANNER, BLOCKING)
    assert [window.feed(piece) for piece in fed] == left


def test_passing_lets_everything_out_and_cuts_when_a_match_is_complete() -> None:
    """What has left cannot be taken back: at most the match itself has."""
    window = Window(SCANNER, {"blocklist": "block", "pii": "log"}, passing=True)
    assert [window.feed(piece) for piece in ("mail a@b.com, an inter", "nal code", "name", "!")] == [
        "mail a@b.com, an inter", "nal code", "", "",
    ]  # fmt: skip
    assert window.cut
    assert [match.category for match in window.hits] == ["pii", "blocklist"]


def test_what_is_only_told_leaves_unchanged() -> None:
    """And is told once."""
    window = Window(SCANNER, {"pii": "annotate"})
    assert window.feed("a@b.com and", final=False) + window.feed(" c@d.org", final=True) == "a@b.com and c@d.org"
    assert [match.label for match in window.hits] == ["EMAIL", "EMAIL"]


def test_an_overlapping_chain_is_one_and_needs_no_memory() -> None:
    """Each match begins inside the one before: they are replaced as they come."""
    lexicon = Scanner(Lexicon([parse("*bob*")]), pii=False)
    window, out, most = Window(lexicon, {"blocklist": "redact"}), "", 0
    for char in "bo" * 500 + "b.":
        out += window.feed(char)
        most = max(most, len(window._held))
    assert out + window.feed("", final=True) == "[REDACTED]."
    assert most < 10


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ('{"to": "b\\u006fb@example.com"}', '{"to": "[EMAIL]"}'),
        ('{"card": 4111111111111111}', '{"card": "[CARD]"}'),
        ('{"a\\"": 4111111111111111, "b": "4111111111111111"}', '{"a\\"": "[CARD]", "b": "[CARD]"}'),
        ('{"x": "\\ud83d\\ude00 caf\\u00e9"}', '{"x": "\\ud83d\\ude00 [REDACTED]"}'),
    ],
)
def test_arguments_are_read_as_json_and_stay_json(text: str, out: str) -> None:
    """Escapes hide nothing, and a bare number is replaced by a string."""
    assert whole(text, REDACTING, escaped=True) == out
    assert in_pieces(text, REDACTING, random.Random(1), escaped=True) == out


def test_what_is_held_is_bounded() -> None:
    """A secret that never ends, and a letter behind more invisible characters than anybody types."""
    for unit in ("a1B2", "\u200b", "1 "):
        window = Window(SCANNER, BLOCKING | {"pii": "redact"})
        window.feed("sk-b")
        for _ in range(400):
            window.feed(unit * 100)
            assert window.held <= 5 * MOST_HELD


def test_matches_that_overlap_are_one_for_each_category() -> None:
    """Called by the longest."""
    three = [
        Match(0, 4, "pii", 6, "A", "pii"), Match(2, 9, "pii", 6, "B", "pii"), Match(3, 5, "blocklist", 6, "C", "rules"),
    ]  # fmt: skip
    assert [(match.start, match.end, match.label) for match in merged(three)] == [(0, 9, "B")]
    assert [(match.category, match.label) for match in counted(three)] == [("pii", "B"), ("blocklist", "C")]


@pytest.mark.parametrize("size", [1, 3, 40])
@pytest.mark.parametrize("control", ["\x00", "\x1b", "\x7f"])
def test_controls_part_words_whatever_stands_behind_them(control: str, size: int) -> None:
    """A piece may be ASCII where the whole is not: both are read alike. Inside a word they are nothing."""
    for text, out in (
        (f"0{control}\x80bomb", f"0{control}\x80[REDACTED]"),
        (f"bomb{control}\u00e9clair", f"[REDACTED]{control}\u00e9clair"),
        (f"bo{control}mb \u00e9", "[REDACTED] \u00e9"),
    ):
        window = Window(SCANNER, REDACTING)
        left = [window.feed(text[place : place + size]) for place in range(0, len(text), size)]
        assert "".join(left) + window.feed("", final=True) == out == whole(text, REDACTING)


@pytest.mark.parametrize("number", ["12345678Z", "AB 12 34 56 C", "AB 12 34 50A"])
def test_a_number_that_turns_out_to_be_part_of_a_longer_word_blocks_nothing(number: str) -> None:
    """It waits for what follows: alone it is found, before more letters it is none."""
    for behind, cuts in (("", True), (" is it", True), ("BC is none", False)):
        window = Window(SCANNER, BLOCKING)
        out = "".join(window.feed(char) for char in f"no {number}{behind}") + window.feed("", final=True)
        assert window.cut == cuts
        assert out == ("no " if cuts else f"no {number}{behind}")
