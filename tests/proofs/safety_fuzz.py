"""Fuzz the normaliser, the window and the cutter with hypothesis, for a while.

    python -m tests.proofs.safety_fuzz [--minutes 10] [--seed 1]

Normaliser: places in the raw text never go back and never leave it, the quick form is the exact one where it says so,
and everything takes time linear in the text. Window: however a text is cut, what leaves and what is found is what one
piece would have given, and of what is forbidden nothing leaves. Cutter: the same for the answers of a stream, all of
their texts at once, whatever the pieces look like. Prints how many examples ran; the first failure is told and ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from app.config import CompletionStage
from app.exchange import Call, Event, JsonObject, Operation
from app.pipeline.report import Report
from app.safety.actions import Actions
from app.safety.answers import Answers
from app.safety.escapes import Unescaped
from app.safety.models.disguise import undisguised
from app.safety.models.pieces import pieces
from app.safety.normal import Clean, kept, key
from app.safety.spans import Scanner
from app.safety.stage import Stage
from app.safety.terms import Lexicon, parse
from app.safety.window import MOST_HELD, Window

TERMS = ("bomb", "internal codename", "\u6975\u79d8\u8a08\u753b", "\u00a7", "kill*", "e\u0301clair noir")
LEXICON = Lexicon([parse(term) for term in TERMS])
SCANNER = Scanner(LEXICON, pii=True)
PLACEHOLDER = re.compile(r"\[[A-Z_]+\]")
"""What stands for what was taken out. A word may seem to begin behind it, or two to be one: no leak."""
SLOW = 2.0
"""Seconds that a text of this fuzz may take at most, on a busy machine."""

FRAGMENTS = st.sampled_from(
    (
        "bomb", "b o m b", "b.0.m.b", "int", "ernal code", "name", "\u6975\u79d8", "\u8a08\u753b", "\u00a7", "kill",
        "ing", "alice@exa", "mple.com", "4111 1111 ", "1111 1111", "+49 30 1234567", "DE89 3704 0044 ",
        "0532 0130 00", "AKIA", "sk-", "a" * 40, "-----BEGIN PRIVATE ", "KEY-----", "MIIE" * 20, "-----END",
        "\\u0062", "\\ud83d", "\\udc00", "\\", '"', "{", "\u0301", "\u200b", "\u202e", "\u0430",
        "\uff42\uff4f\uff4d\uff42", " ", "  ", "\n", ".", "-", "AB 12 34 5", "\U0001f600", "\u1100\u1161",
        "\uff76\uff9e", "\u0e01", "0", "7 ", "x" * 70, "(", "e\u0301clair",
    )
)  # fmt: skip
TEXTS = st.lists(st.one_of(FRAGMENTS, st.text(max_size=6)), max_size=14).map("".join)
CUTS = st.lists(st.integers(1, 30), min_size=1, max_size=8)
ACTIONS = st.sampled_from(
    ({"blocklist": "block", "pii": "block"}, {"blocklist": "redact", "pii": "redact"}, {"pii": "block"})
)


def cut(text: str, sizes: list[int]) -> list[str]:
    """The text in pieces of these sizes, again and again."""
    found, place, turn = [], 0, 0
    while place < len(text):
        size = sizes[turn % len(sizes)]
        found.append(text[place : place + size])
        place, turn = place + size, turn + 1
    return found


def normaliser(text: str) -> None:
    """Places, forms, time."""
    began = time.monotonic()
    exact, quick = Clean(text, exact=True), Clean(text)
    places = [exact.at(index) for index in range(len(exact.text) + 1)]
    assert places == sorted(places)
    assert places[-1] == len(text)
    assert all(exact.until(index) > places[index - 1] for index in range(1, len(places)))
    if quick.exact:
        assert quick.text == exact.text
    assert len(kept(exact.text)) == len(key(exact.text))
    plain = Unescaped(text, final=True)
    assert 0 <= plain.at(len(plain.text)) <= len(text)
    assert all(piece in text or piece for piece in pieces(text))
    undisguised(text)
    if SCANNER.silent(text):
        assert SCANNER.find_raw(text)[1] == []
    assert time.monotonic() - began < SLOW


def whole(text: str, actions: dict[str, str], *, escaped: bool) -> tuple[str, Window]:
    """What a window makes of a text in one piece."""
    window = Window(SCANNER, actions, escaped=escaped)
    return window.feed(text, final=True), window


def window(text: str, sizes: list[int], actions: dict[str, str], escaped: bool) -> None:  # noqa: FBT001 - hypothesis'
    """However it is cut, the same leaves."""
    began = time.monotonic()
    expected, one = whole(text, actions, escaped=escaped)
    many = Window(SCANNER, actions, escaped=escaped)
    out = ""
    for piece in cut(text, sizes):
        out += many.feed(piece)
        assert many.held <= 4 * MOST_HELD
    out += many.feed("", final=True)
    assert many.cut == one.cut
    if one.cut:
        assert expected.startswith(out) or out.startswith(expected)
    else:
        assert out == expected
    assert time.monotonic() - began < SLOW


STAGES = {
    action: Stage(
        CompletionStage.model_validate({"detectors": ("rules", "pii")}),
        Actions("completion", {}, {"blocklist": action, "pii": action}),
        LEXICON,
        {},
    )
    for action in ("block", "redact")
}
ARGUMENTS = st.fixed_dictionaries({"arguments": TEXTS})
CALLS = st.lists(st.fixed_dictionaries({"index": st.integers(0, 2), "function": ARGUMENTS}), max_size=3)
ANYTHING = st.one_of(st.none(), st.booleans(), TEXTS, st.lists(TEXTS, max_size=2))
DELTAS = st.one_of(
    st.fixed_dictionaries({}, optional={"content": TEXTS, "reasoning_content": TEXTS, "refusal": TEXTS}),
    st.fixed_dictionaries({"tool_calls": CALLS}),
    st.dictionaries(st.text(max_size=4), ANYTHING, max_size=3),
)
CHOICES = st.fixed_dictionaries(
    {"index": st.integers(0, 2), "delta": DELTAS, "finish_reason": st.sampled_from((None, None, None, "stop"))}
)
STREAMS = st.lists(st.lists(CHOICES, max_size=3), max_size=10)


def cutter(stream: list[list[JsonObject]], action: str) -> None:
    """Any stream: nothing breaks, and no forbidden text is whole in what a reader puts together."""
    asyncio.run(_cutter(stream, action))


async def _cutter(stream: list[list[JsonObject]], action: str) -> None:
    began = time.monotonic()
    call = Call(Operation.CHAT, "m", True, False, {}, 0, choices=3)  # noqa: FBT003 - named in the tuple
    answers = Answers(call, STAGES[action], Report("g"), None, {})
    out: list[Any] = []
    fed: dict[int, str] = {}
    for choices in stream:
        if not answers.cut:
            _told([{"choices": _sound(choices)}], fed)
            doc = {"id": "c", "choices": choices}
            batch = answers.feed([Event(b"{}", orjson.loads(orjson.dumps(_sound(doc))))], time.monotonic())
            out += [event.doc for event in batch]
    if not answers.cut:
        out += [event.doc for event in answers.feed(None, time.monotonic())]
    texts: dict[int, str] = {}
    _told(out, texts)
    ended = {choice["index"] for choices in stream for choice in choices if choice["finish_reason"]}
    for index, text in texts.items():
        if index not in ended:  # what a choice says behind its end begins a new text
            if action == "redact":
                forms = (text, PLACEHOLDER.sub("q", text))
                assert not all(SCANNER.find_raw(form)[1] for form in forms), text
            else:  # what stood behind the cut may have been part of the last word
                view, found = SCANNER.find_raw(fed[index])
                assert fed[index].startswith(text)
                assert all(view.at(match.start) >= len(text) for match in found), text
    assert time.monotonic() - began < SLOW


def _told(docs: list[Any], texts: dict[int, str]) -> None:
    """Add what these events say to the content of each choice."""
    for doc in docs:
        for choice in doc.get("choices", ()):
            content = (choice.get("delta") or {}).get("content")
            if isinstance(content, str):
                texts[choice["index"]] = texts.get(choice["index"], "") + content


def _sound(value: Any) -> Any:
    """Without lone surrogates, which no upstream's JSON has once it is read."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_sound(name): _sound(one) for name, one in value.items()}
    return [_sound(one) for one in value] if isinstance(value, list) else value


TARGETS: dict[Callable[..., None], tuple[st.SearchStrategy[Any], ...]] = {
    normaliser: (TEXTS,),
    window: (TEXTS, CUTS, ACTIONS, st.booleans()),
    cutter: (STREAMS, st.sampled_from(("block", "redact"))),
}
"""Each with what it is given."""
AT_ONCE = 200


def fuzz(minutes: float, begin: int) -> dict[str, int]:
    """Run all targets in turns until the time is over; raises what a failing example raises."""
    counts = dict.fromkeys((target.__name__ for target in TARGETS), 0)
    until, turn = time.monotonic() + minutes * 60, begin
    chosen = settings(
        max_examples=AT_ONCE,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    while time.monotonic() < until:
        for target, strategies in TARGETS.items():
            seed(turn)(
                chosen(given(*strategies)(target))
            )()  # anew: a test has one seed and one settings object for good
            counts[target.__name__] += AT_ONCE
        turn += 1
    return counts


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    given_ = parser.parse_args()
    counts = fuzz(given_.minutes, given_.seed)
    sys.stdout.write(
        "nothing found in " + ", ".join(f"{count} examples of {name}" for name, count in counts.items()) + "\n"
    )


if __name__ == "__main__":
    main()
