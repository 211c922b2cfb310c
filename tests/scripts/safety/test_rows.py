"""The rows that models are trained and judged on: how the split is made, and that our own lines keep to it."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

from scripts.safety.rows import HARMS, LANGUAGES, MODERATION, Row, bare, bucket, collected, lines, own, without_leaks

OWN = own()


def row(text: str, *, test: bool) -> Row:
    """A row with nothing but a text and its split."""
    return Row(text, "en", "s", test)


def test_the_split_is_a_function_of_the_text() -> None:
    """Frozen: the numbers are what they were before the first model was trained."""
    assert [bucket(text) for text in ("", "a", "How do I kill a process?")] == [10, 10, 58]
    assert Counter(bucket(str(number)) < 60 for number in range(2000))[True] in range(1100, 1300)


def test_a_heading_says_what_its_lines_are() -> None:
    """Severities of all harms where somebody judged them; what an attack asks for was not judged."""
    text = "## hate 4\nA\n\n## benign violence\nB\n## jailbreak\nC\n## indirect\nD\n"
    hate, benign, jailbreak, indirect = lines(text, "de", test=False)
    assert hate.levels == {"hate": 4, "sexual": 0, "violence": 0, "self_harm": 0}
    assert hate.hits["any"]
    assert set(benign.levels.values()) == {0}
    assert benign.hits == {"jailbreak": False, "indirect_attack": False, "injection": False, "any": False}
    assert (jailbreak.levels, jailbreak.hits["jailbreak"]) == ({}, True)
    assert (indirect.levels, indirect.hits) == ({}, {"indirect_attack": True, "injection": True})


def test_training_repeats_nothing_of_the_test_split() -> None:
    """But for case, spaces, digits and punctuation."""
    rows = [row("Kill the process 9!", test=True), row("kill the  process", test=False), row("Stop it", test=False)]
    assert [one.text for one in without_leaks(rows)] == ["Kill the process 9!", "Stop it"]


def test_our_own_lines_keep_to_the_split() -> None:
    """No line of ours is in both."""
    held_out = {bare(one.text) for one in OWN if one.test}
    assert not [one.text for one in OWN if not one.test and bare(one.text) in held_out]


def test_our_own_lines_cover_what_they_are_there_for() -> None:
    """Eight languages, four harms at three severities, look-alikes and attacks of both kinds, in both splits."""
    for split in (True, False):
        for language in LANGUAGES:
            notes = Counter(one.note for one in OWN if one.test == split and one.language == language)
            wanted = {f"{harm} {level}" for harm in HARMS for level in (2, 4, 6)} | {"jailbreak", "indirect"}
            wanted |= {f"benign {topic}" for topic in (*HARMS, "jailbreak", "indirect")}
            assert set(notes) == wanted


def test_collections_are_read_with_their_labels(tmp_path: Path) -> None:
    """A severity that a person gave is a level; the others say harmful or not."""
    rows: list[dict[str, Any]] = [
        {"text": "x", "lang": "en", "source": "s", "labels": {"hate": 1}, "severity": ["hate", 0.25]},
        {"text": "y", "lang": "en", "source": MODERATION, "labels": dict.fromkeys(HARMS, 0)},
        {"text": "z", "lang": "en", "source": "s", "labels": {"anyharm": 1, "injection": 0}},
    ]
    for name, part in (("train", rows), ("dev", [{**one, "text": one["text"] * 2} for one in rows])):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt") as file:
            file.write("\n".join(map(json.dumps, part)))
    found = {one.text: one for one in collected(tmp_path)}
    assert found["x"].levels == {"hate": 2}
    assert not found["y"].hits["any"]
    assert found["z"].hits == {"injection": False, "any": True}
    assert found["x"].test is found["z"].test is False
    assert found["xx"].test == (bucket("xx") < 60)
