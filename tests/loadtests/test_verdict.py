"""A soak's verdict: sound figures pass, each kind of fault is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtests.line import Answer, Shot
from loadtests.mix import Judge
from loadtests.verdict import Sample, Verdict

START = Sample(requests=0, seconds=0.0, rss=50 << 20, pss=40 << 20, files=15, sockets=4, tasks=6)


def verdict(**changes: object) -> Verdict:
    """A sound soak of 1 000 000 requests, with some figures changed."""
    grown = replace(START, rss=70 << 20)
    sound: dict[str, object] = {
        "date": "today",
        "machine": {},
        "sent": 1_000_000,
        "seconds": 100.0,
        "before": START,
        "samples": [replace(grown, requests=n * 20_000) for n in range(1, 51)],
        "after": replace(START, rss=69 << 20),
        "counted": {"ok": 900_000, "client_closed": 100_000},
        "expected": {"ok": 900_000, "client_closed": 100_000},
        "kinds": {},
        "violations": 0,
    }
    return Verdict(**{**sound, **changes})  # type: ignore[arg-type]  # a dict of fields


def judge(answered: int = 1_000_000, wrong: int = 0) -> Judge:
    """A judge that saw so many answers, some of them wrong."""
    made = Judge()
    for _ in range(wrong):
        made(Answer(Shot(b"", "whole"), status=500))
    made.answered = answered
    return made


def test_a_sound_soak_has_no_fault() -> None:
    """Growth before the first 100 000 requests is settling in."""
    sound = verdict()
    sound.look(judge(), 10 << 20)
    assert (sound.faults, sound.growth) == ([], 0)
    assert "left over: 0 sockets, 0 tasks" in sound.text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"after": replace(START, sockets=5)}, "1 sockets are left over"),
        ({"after": replace(START, tasks=9)}, "3 tasks are left over"),
        ({"violations": 2}, "the upstream saw 2 things"),
        ({"counted": {"ok": 900_000, "client_closed": 99_999}}, "999999 are counted"),
        ({"counted": {"ok": 900_001, "client_closed": 99_999}}, "client_closed: 100000 expected, 99999 counted"),
        ({"counted": {"ok": 900_000, "internal_error": 100_000}}, "internal_error: 0 expected, 100000 counted"),
        ({"sent": 1_000_001}, "1000000 came to an end"),
    ],
)
def test_each_fault_is_told(changes: dict[str, object], words: str) -> None:
    """In words that name the figure."""
    bad = verdict(**changes)
    bad.look(judge(), 10 << 20)
    assert words in "\n".join(bad.faults)
    assert f"FAULT: {bad.faults[0]}" in bad.text()


def test_growth_after_the_first_100_000_is_told() -> None:
    """From the first sample at or after them to the last of the load."""
    samples = [replace(START, requests=20_000), replace(START, requests=100_000, rss=60 << 20)]
    bad = verdict(samples=[*samples, replace(START, requests=1_000_000, rss=71 << 20)])
    bad.look(judge(), 10 << 20)
    assert bad.faults == ["RSS grew by 11.0 MiB; 10.0 MiB are allowed"]


def test_wrong_answers_are_told() -> None:
    """With an example."""
    bad = verdict()
    bad.look(judge(wrong=3), 10 << 20)
    assert bad.faults[0].startswith("3 answers are wrong, such as: whole: HTTP 500")
