"""Terms in the file and in files of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config.raw import parse
from app.config.terms import LONGEST, TermFile, term_files
from app.safety import terms
from tests.support.configs import loaded, problems

RULES = {"name": "default", "prompt": {"detectors": ["rules"]}}


def messages(**guard: object) -> list[str]:
    """What is wrong with a guard."""
    return [f"{problem.path}: {problem.message}" for problem in problems({"guards": [{**RULES, **guard}]})]


def test_a_file_holds_a_term_a_line(tmp_path: Path) -> None:
    """Comments and empty lines say nothing; what is shown is the path."""
    path = tmp_path / "terms.txt"
    path.write_text("\ufeff# ours\n\n internal codename \nbomb\n", encoding="utf-8")
    guard = loaded({"guards": [{**RULES, "blocklist_files": [str(path)]}]}).guards[0]
    (file,) = guard.blocklist_files
    assert file.terms == ("internal codename", "bomb")
    assert guard.model_dump()["blocklist_files"] == (str(path),)
    assert file == TermFile(str(path), file.terms) != TermFile(str(path), ())
    assert str(path) in repr(file)
    assert hash(file) == hash(TermFile(str(path), file.terms))


def test_what_is_wrong_in_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    """And what cannot be read."""
    path = tmp_path / "terms.txt"
    path.write_text("fine\n---\n")
    assert messages(blocklist_files=[str(path)]) == [
        f"guards[0].blocklist_files[0]: {path}, line 2: has no character to look for"
    ]
    path.write_bytes(b"\xff")
    assert messages(blocklist_files=[str(path)]) == [f"guards[0].blocklist_files[0]: {path} is not UTF-8 text"]
    gone = tmp_path / "gone.txt"
    assert messages(blocklist_files=[str(gone)]) == [
        f"guards[0].blocklist_files[0]: {gone} cannot be read: No such file or directory"
    ]


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("a" * (LONGEST + 1), f"has more than {LONGEST} characters"),
        ("\ufdfa" * 20, f"has more than {LONGEST} characters"),
        ("-_-", "has no character to look for"),
        ("\u3164", "has no character to look for"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(term: str, message: str) -> None:
    """At the term."""
    assert messages(blocklist=[term]) == [f"guards[0].blocklist[0]: {message}"]


@pytest.mark.parametrize("term", ["a" * LONGEST, "§", "爆", "c++", "*ass*", "☢", "☃︎"])
def test_what_is_accepted_can_be_looked_for(term: str) -> None:
    """By the room that does it."""
    assert messages(blocklist=[term]) == []
    assert terms.parse(term).letters
    assert terms.MOST_LETTERS == LONGEST


@pytest.mark.parametrize("value", [5, "", "a\0b"])
def test_a_path_is_a_path(value: object) -> None:
    """Text, not empty."""
    assert messages(blocklist_files=[value]) == ["guards[0].blocklist_files[0]: must be the path of a file"]


def test_files_are_named_for_whoever_watches_them() -> None:
    """Whatever else is wrong with the document."""
    document = parse("guards: [{blocklist_files: [a.txt, 5]}, 7, {blocklist_files: b.txt}]")
    assert list(term_files(document.root)) == [Path("a.txt")]
    assert list(term_files(None)) == []
