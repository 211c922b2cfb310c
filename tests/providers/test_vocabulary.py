"""Vocabularies: the talk's examples, files, and counting in pieces."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest

from app.providers import vocabulary
from app.providers.vocabulary import Vocabularies, pieces
from tests.support.vocabularies import SHIPPED, most, shipped, trained

TIRED = "The animal didn't cross the street because it was too tired."
FATIGUED = "The beast abstained from traversing the thoroughfare as it was too fatigued."
MUEDE = "Das Tier kreuzte die Straße nicht, weil es zu müde war."


@pytest.mark.parametrize(("text", "tokens"), [(TIRED, 13), (FATIGUED, 17), (MUEDE, 24)])
def test_the_talks_examples_in_gpt2s_vocabulary(text: str, tokens: int) -> None:
    """Rare words and other languages cost more."""
    assert shipped().get("gpt2")(text) == (tokens, tokens)


def test_the_talks_token_numbers() -> None:
    """Not only as many tokens: the same ones."""
    ids = [464, 5044, 1422, 470, 3272, 262, 4675, 780, 340, 373, 1165, 10032, 13]
    assert vocabulary.gpt2().encode(TIRED).ids == ids


@pytest.mark.parametrize(("name", "counts"), [("cl100k", (13, 18, 17)), ("o200k", (12, 17, 16))])
def test_openais_vocabularies(name: str, counts: tuple[int, ...]) -> None:
    """The same sentences."""
    assert tuple(most(name, text) for text in (TIRED, FATIGUED, MUEDE)) == counts


def test_a_tokenizer_file(tmp_path: Path) -> None:
    """Any `tokenizer.json`; a truncation that it asks for is not done."""
    made = trained()["bpe over NFC"]
    made.enable_truncation(3)
    made.save(str(tmp_path / "tokenizer.json"))
    made.no_truncation()
    count = Vocabularies().get(str(tmp_path / "tokenizer.json"))
    assert count(TIRED * 3).least == count(TIRED * 3).most == len(made.encode(TIRED * 3).ids) > 3


@pytest.mark.parametrize("content", ["", "{}", "no JSON"])
def test_a_file_that_is_no_tokenizer(tmp_path: Path, content: str) -> None:
    """Told with its name."""
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a tokenizer"):
        Vocabularies().get(str(path))


def test_each_is_loaded_once() -> None:
    """The second question finds the first one's answer."""
    assert shipped().get("o200k") is shipped().get("o200k")


@pytest.mark.parametrize("name", ["cl100k", "o200k"])
def test_pieces_count_as_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut between words: not one token more or less, in many short pieces."""
    words = ["hello", "World's", "\n", "\n\n", "123456", "...", "don't", "世界。", "\t", "a", "-", "ñandú", "🙂"]
    source = random.Random(7)
    text = " ".join(source.choice(words) for _ in range(3000))
    whole = most(name, text[:8000])
    monkeypatch.setattr(vocabulary, "_PIECE", 64)
    cut = list(pieces(text[:8000]))
    assert "".join(piece for piece, _ in cut) == text[:8000]
    assert len(cut) > 100
    slack = 8 * sum(not between for _, between in cut)
    got = shipped().get(name)(text[:8000])
    assert got.most - slack <= got.least <= whole <= got.most <= whole + slack


@pytest.mark.parametrize("text", ["这只动物没有过马路。" * 4000, "a" * 40_000, " " * 40_000, "\n" * 40_000])
def test_text_without_words_is_cut_anywhere_and_lies_between_its_bounds(text: str) -> None:
    """A cut inside a run of characters costs its slack, either way."""
    direct = vocabulary.bindings().tokenizer_for_encoding("o200k_base").count(text)
    got = shipped().get("o200k")(text)
    assert got.least <= direct <= got.most
    assert got.most <= direct + 8 * (len(text) // 4096 + 1)
    assert direct <= got.least + 8 * (len(text) // 4096 + 1)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_hundred_thousand_tokens_leave_other_threads_their_turns(name: str) -> None:
    """The longest that another thread waits is a small part of the whole; both are measured here."""
    count = shipped().get(name)
    text = " ".join(f"word{n % 977} and some more" for n in range(25_000))
    result: list[int] = []
    thread = threading.Thread(target=lambda: result.append(count(text).most))
    waits = []
    thread.start()
    last = time.perf_counter()
    while thread.is_alive():
        time.sleep(0.0001)
        now = time.perf_counter()
        waits.append(now - last)
        last = now
    assert result[0] >= 100_000
    assert len(waits) >= 10  # held all along, there would be one wait, to the end
