"""How good the models are, on the frozen test split: prints every table and writes docs/safety-evaluation.md's.

`make eval-safety` with SAFETY_DATA set; without it our own test lines alone are evaluated and nothing is written.
`--cache FOLDER` keeps vectors from one run to the next. Texts are judged by the engine of the detector process, in the
way that a prompt is: whole, sentence by sentence, and undisguised.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from app.safety.detector import Inspection, Passage
from app.safety.models.encoders import language_of
from app.safety.models.engine import HARMS, Encoder, Engine
from app.safety.models.heads import BUILT, Array, Heads
from app.safety.models.profiles import ENCODERS
from app.safety.models.wire import Ask
from scripts.safety import report
from scripts.safety.embed import Cache
from scripts.safety.rows import Row, collected, own
from scripts.safety.scores import Scores
from scripts.safety.train import GROUPS, PROFILES

PAGE = Path(__file__).parents[2] / "docs" / "safety-evaluation.md"
_AT_ONCE = 64


class Remembered:
    """An encoder whose vectors are kept."""

    def __init__(self, name: str, folder: Path) -> None:
        self._cache = Cache(folder / f"{name}.npz")
        self._encode: Encoder = ENCODERS[name]()

    def __call__(self, texts: Sequence[str]) -> Array:
        """A row for each text."""
        self._cache.add(texts, self._encode)
        return self._cache.rows(texts)


def engine(path: Path, folder: Path) -> Engine:
    """An engine with the heads of a file and encoders that remember."""
    heads = Heads.load(path)
    encoders: dict[str, Encoder] = {name: Remembered(name, folder) for name in heads.encoders}
    return Engine(heads, encoders, language_of() if encoders else str)


def score(rows: list[Row], path: Path, folder: Path, *, known: bool) -> Scores:
    """The worst probability of each output over the pieces of each row's text, and the severities that it means."""
    judge, heads = engine(path, folder), Heads.load(path)
    worst = np.zeros((len(rows), len(heads.outputs)), np.float32)
    caches = [Cache(folder / f"{name}.npz") for name in heads.encoders] if known else []
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        for at, found in enumerate(
            judge.scores([row.text for row in some], lambda piece: _in_all(caches, piece)), start
        ):
            worst[at] = found
    severities = {harm: np.array([heads.severity(harm, row) for row in worst]) for harm in HARMS}
    hits = {name: np.array([heads.hit(name, row) for row in worst]) for name in ("jailbreak", "indirect_attack")}
    columns = {name: worst[:, at] for at, name in enumerate(heads.outputs)}
    return Scores(rows, columns, severities, hits)


def _in_all(caches: list[Cache], piece: str) -> bool:
    return all(piece in cache for cache in caches)


def latency(profile: str) -> list[tuple[str, int, float, float]]:
    """Detector, tokens or so, and milliseconds of one question alone: median and the slowest of twenty."""
    heads = Heads.load(BUILT / f"{profile}.npz")
    encoders: dict[str, Encoder] = {name: ENCODERS[name]() for name in heads.encoders}
    told = []
    sentence = "The committee met on a rainy {} to talk about the new bridge and its costs. "
    for tokens in (20, 200):
        for detector in ("classifier", "jailbreak"):
            judge = Engine(heads, encoders, language_of() if encoders else str)
            times = []
            for number in range(20):
                text = "".join(sentence.format(f"day {number} {part}") for part in range(max(1, tokens // 18)))
                asked = Ask(number, detector, 5, Inspection("prompt", (Passage(text, "user"),)))
                times.append(_milliseconds(lambda: judge.answer([asked])))  # noqa: B023 - called at once
            told.append((detector, tokens, float(np.median(times)), max(times)))
    return told


def _milliseconds(work: Callable[[], object]) -> float:
    """Of this thread's CPU: what else runs on the machine does not count."""
    began = time.thread_time()
    work()
    return (time.thread_time() - began) * 1000


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate the profiles that are built."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--profile", choices=PROFILES, action="append")
    parser.add_argument("--known", action="store_true", help="judge only pieces whose vectors are in the cache already")
    parser.add_argument("--only", nargs="+", default=[""], help="collections whose names begin so, `own` among them")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/safety-evaluation.md")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.cache or Path(temporary)
        every = ([*collected()] if "SAFETY_DATA" in os.environ else []) + own()
        rows = [row for row in every if row.test and row.source.startswith(tuple(chosen.only))]
        tables: dict[str, str] = {}
        profiles = chosen.profile or [name for name in PROFILES if (BUILT / f"{name}.npz").exists()]
        for profile in profiles:
            scores = score(rows, BUILT / f"{profile}.npz", folder, known=chosen.known)
            left_out = {
                name: score([row for row in rows if row.source.startswith(sources)], path, folder, known=chosen.known)
                for name, sources in GROUPS.items()
                if (path := folder / f"{profile}-without-{name}.npz").exists()
            }
            tables |= {f"{profile} {name}": text for name, text in report.tables(scores, left_out).items()}
            tables[f"{profile} latency"] = report.latency_table(latency(profile))
    for name, text in tables.items():
        sys.stdout.write(f"\n== {name}\n\n{text}\n")
    if chosen.write:
        PAGE.write_text(report.replaced(PAGE.read_text("utf-8"), tables), "utf-8")


if __name__ == "__main__":
    main()
