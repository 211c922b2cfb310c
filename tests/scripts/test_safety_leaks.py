"""The script that measures what of a harmful sentence leaks: its clock, its streams, its sums."""

from __future__ import annotations

import asyncio
import json
import random
import time

import pytest

from scripts.safety.rows import Row
from scripts.safety_leaks import HARMLESS, MODES, Loop, Outcome, Said, run, script, table
from scripts.safety_streams import PLACES, said

ROW = Row("Mi piace il t\u00e8 \U0001f600 caldo.", "it", "own", test=True)


def test_the_clock_leaps_over_pauses() -> None:
    """But not while somebody waits for a detector."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Loop)
        began, told = time.monotonic(), loop.time()
        runner.run(asyncio.sleep(60))
        assert time.monotonic() - began < 10
        assert loop.time() - told >= 60
        loop.clock.open += 1
        began = time.monotonic()
        runner.run(asyncio.sleep(0.05))
        assert time.monotonic() - began >= 0.04


async def test_a_script_says_everything_and_knows_where_the_sentence_stands() -> None:
    """In every place, with escapes and without."""
    seen = set()
    for seed in range(60):
        given = script(ROW, list(HARMLESS["it"][:2]), random.Random(seed))
        source = Said(given._replace(batches=tuple((0.0, batch) for _, batch in given.batches)))
        docs = [event.doc for event in source.first]
        while batch := await source.more():
            docs += [event.doc for event in batch]
        text = said(given.place, docs)
        plain = json.loads(text)["q"] if given.place == "tool arguments" else text
        assert ROW.text in plain
        start = len(given.before)
        reached = [given.reached(text[:length]) for length in range(len(text) + 1)]
        assert (reached[start], reached[start + given.ends[-1]], reached[-1]) == (0, len(ROW.text), len(ROW.text))
        assert reached == sorted(reached)
        seen.add((given.place, "\\" in text))
    assert seen == {*((place, False) for place in PLACES), ("tool arguments", True)}


def test_a_real_detector_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """Every stream has an outcome in every mode, and no sentence is printed."""
    found = run(range(4), 1, "tiny", 400)
    assert {mode: len(some) for mode, some in found.items()} == dict.fromkeys(MODES, 4)
    assert all(one.late == 0 and 0 <= one.reached <= one.size for some in found.values() for one in some)
    assert any(one.cut for some in found.values() for one in some)
    assert capsys.readouterr().out == ""


def test_the_table_counts() -> None:
    """Missed, flagged and quick, flagged and slow; nothing, a part, all."""
    strict = [
        Outcome("content", flagged=False, slow=False, cut=False, reached=40, size=40, late=0),
        Outcome("content", flagged=True, slow=False, cut=True, reached=0, size=40, late=0),
        Outcome("content", flagged=True, slow=True, cut=True, reached=10, size=40, late=0),
        Outcome("content", flagged=True, slow=True, cut=False, reached=40, size=40, late=0),
    ]
    rows = list(table({"strict": strict, "async": []}))
    assert [row.split()[-8:] for row in rows[1:4]] == [
        ["1", "0", "0", "0", "1", "40.0", "40", "40"],
        ["1", "1", "1", "0", "0", "0.0", "0", "0"],
        ["2", "1", "0", "1", "1", "25.0", "10", "40"],
    ]
    assert "40 characters (mean); 0 questions" in rows[-1]
