"""The rows that models are trained and judged on: labelled texts from other people's collections, and our own lines.

The collections are not in the repository. `SAFETY_DATA` names a folder with `train.jsonl.gz` and `dev.jsonl.gz`, whose
sources and licences docs/safety-evaluation.md lists; each row has `text`, `lang`, `source`, `labels`, and where a
person gave one, `severity` as a share of the scale. Our own lines are in `lines/`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LANGUAGES = ("en", "de", "ja", "es", "fr", "it", "pt", "zh")
HARMS = ("hate", "sexual", "violence", "self_harm")
ATTACKS = ("jailbreak", "indirect_attack")
SEVERITIES = (2, 4, 6)
LINES = Path(__file__).parent / "lines"

TEST_SHARE = 60
"""Of a hundred rows of `dev.jsonl.gz`, those whose text hashes below this are the frozen test split; the rest may be
trained on. Of `train.jsonl.gz`, OpenAI's set alone gives rows to the test split, `MODERATION_SHARE` of a hundred: the
held-out part would be too small to tell an AUPRC of 0.80 from one of 0.85."""
MODERATION_SHARE = 25
MODERATION = "openai-moderation-eval"


@dataclass(frozen=True, slots=True)
class Row:
    """A text and what is known of it. `levels` has the severity of each category that somebody judged."""

    text: str
    language: str
    source: str
    test: bool
    levels: dict[str, int] = field(default_factory=dict)
    hits: dict[str, bool] = field(default_factory=dict)
    """`jailbreak`, `indirect_attack`, `injection` (either of them), `illicit` and `any` (harm of some category)."""
    own: bool = False
    note: str = ""


def bucket(text: str) -> int:
    """0 to 99, from the text alone: who copies the rule gets the same split."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 100


def collected(folder: Path | None = None) -> list[Row]:
    """The rows of the collections; without those whose text is in both splits, which stay in the test split alone."""
    folder = folder or Path(os.environ["SAFETY_DATA"])
    rows = [*_read(folder / "train.jsonl.gz", dev=False), *_read(folder / "dev.jsonl.gz", dev=True)]
    return without_leaks(rows)


def own() -> list[Row]:
    """Our own lines of both splits."""
    files = sorted(LINES.glob("*/*.txt"))
    return [row for path in files for row in lines(path.read_text("utf-8"), path.stem, test=path.parent.name == "test")]


def without_leaks(rows: list[Row]) -> list[Row]:
    """Training rows that a test row repeats, but for case, spaces, digits and punctuation, are left out."""
    held_out = {bare(row.text) for row in rows if row.test}
    return [row for row in rows if row.test or bare(row.text) not in held_out]


def bare(text: str) -> str:
    """What is left of a text that is compared with others."""
    return re.sub(r"[\W\d_]+", "", unicodedata.normalize("NFKC", text).casefold())


def lines(text: str, language: str, *, test: bool) -> Iterator[Row]:
    """The rows of a file of ours: below `## CATEGORY LEVEL`, `## jailbreak`, `## indirect`, `## benign TOPIC`."""
    levels: dict[str, int] = {}
    hits: dict[str, bool] = {}
    note = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("## "):
            note = line.removeprefix("## ")
            levels, hits = _meaning(note)
        elif not line.startswith("#"):
            yield Row(line, language, "own", test, levels, hits, own=True, note=note)


def _meaning(heading: str) -> tuple[dict[str, int], dict[str, bool]]:
    topic, _, level = heading.partition(" ")
    levels = dict.fromkeys(HARMS, 0)
    hits = {"jailbreak": False, "indirect_attack": False, "injection": False}
    if topic in {"jailbreak", "indirect"}:
        hits |= {"jailbreak" if topic == "jailbreak" else "indirect_attack": True, "injection": True}
        # What an attack asks for, and whose document it stands in, is not known to the other heads.
        return {}, hits if topic == "jailbreak" else {"indirect_attack": True, "injection": True}
    if topic != "benign":
        levels[topic] = int(level)
    return levels, hits | {"any": topic != "benign" and int(level) >= SEVERITIES[1]}


def _read(path: Path, *, dev: bool) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            raw = json.loads(line)
            share = TEST_SHARE if dev else MODERATION_SHARE if raw["source"] == MODERATION else 0
            labels = raw["labels"]
            levels = {harm: 4 * labels[harm] for harm in HARMS if harm in labels}
            if "severity" in raw and raw["severity"] and raw["severity"][0] in HARMS:
                levels[raw["severity"][0]] = _level(raw["severity"][1])
            hits = {name: bool(labels[name]) for name in ("injection", "illicit") if name in labels}
            harmful = [labels[harm] for harm in HARMS if harm in labels]
            if "anyharm" in labels:
                hits["any"] = bool(labels["anyharm"])
            elif any(harmful) or len(harmful) == len(HARMS):
                hits["any"] = any(harmful)
            yield Row(raw["text"], raw["lang"], raw["source"], bucket(raw["text"]) < share, levels, hits)


def _level(share: float) -> int:
    """A share of a five-point scale as one of Azure's levels."""
    return (0, 2, 4, 6, 6)[round(share * 4)]
