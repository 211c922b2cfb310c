"""Decision records: one page each, in one form, numbered without gaps, and all in the index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.tree import files, text

FOLDER = Path("docs/decisions")
INDEX = FOLDER / "README.md"
RECORDS = [path for path in files() if path.parent == FOLDER and path != INDEX]
NAME = re.compile(r"(?P<number>\d{4})-[a-z0-9]+(-[a-z0-9]+)*\.md")
SECTIONS = ["Context", "Decision", "Consequences"]
PAGE = 90


@pytest.mark.parametrize("path", RECORDS, ids=str)
def test_a_record_has_the_form(path: Path) -> None:
    """`# NNNN. Title`, then context, decision and consequences, on one page."""
    name = NAME.fullmatch(path.name)
    assert name, "name it NNNN-few-words.md"
    assert text(path).startswith(f"# {name['number']}. ")
    assert re.findall(r"^## (.+)$", text(path), re.MULTILINE) == SECTIONS
    assert len(text(path).splitlines()) <= PAGE


def test_records_are_numbered_without_gaps() -> None:
    """Nobody's decision was lost or overwritten."""
    assert [int(path.name[:4]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))


def test_the_index_has_every_record_with_its_title() -> None:
    """One line a record, in order, in the record's own words."""
    titles = [(path.name, text(path).splitlines()[0].removeprefix("# ")) for path in RECORDS]
    assert re.findall(r"^- \[(.+)\]\((.+)\)$", text(INDEX), re.MULTILINE) == [(title, name) for name, title in titles]
