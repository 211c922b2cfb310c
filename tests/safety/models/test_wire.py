"""What workers and the detector process say to each other survives the way, in whatever pieces it arrives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.safety.detector import Finding, Inspection, Passage
from app.safety.models import wire

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
INSPECTIONS = st.builds(
    Inspection,
    st.sampled_from(("prompt", "completion")),
    st.lists(st.builds(Passage, TEXTS, st.sampled_from(("user", "tool"))), max_size=3).map(tuple),
    TEXTS,
    st.lists(TEXTS, max_size=2).map(tuple),
    TEXTS,
    st.just("-"),
    st.none(),
)


def unframed(data: bytes, size: int) -> list[bytes]:
    """The messages in bytes that arrive `size` at a time."""
    frames = wire.Frames()
    return [payload for at in range(0, len(data), size) for payload in frames.feed(data[at : at + size])]


@given(st.lists(INSPECTIONS, max_size=4), st.integers(1, 50))
def test_questions_arrive_as_they_were_asked(inspections: list[Inspection], size: int) -> None:
    """However the bytes are cut; the tenant stays behind, it is none of the models' business."""
    asked = [wire.Ask(number, "classifier", 1.5, one) for number, one in enumerate(inspections)]
    data = b"".join(map(wire.ask, asked))
    assert [wire.read_question(payload) for payload in unframed(data, size)] == asked


def test_answers_arrive_as_they_were_given() -> None:
    """Findings, and errors."""
    answers = [
        wire.Answer(7, (Finding("hate", 4, 0.91, 2), Finding("jailbreak", 6, None, None))),
        wire.Answer(8, error=wire.OVERLOADED),
    ]
    data = b"".join(map(wire.answer, answers))
    assert [wire.read_answer(payload) for payload in unframed(data, 3)] == answers


def test_a_question_can_be_forgotten() -> None:
    """By its number."""
    assert [wire.read_question(payload) for payload in unframed(wire.forget(12), 100)] == [12]


def test_what_is_no_unicode_goes_through() -> None:
    """A caller's JSON may hold half a surrogate pair; JSON on the way may not."""
    asked = wire.ask(wire.Ask(1, "jailbreak", 1.0, Inspection("prompt", (Passage("a\ud800b", "user"),))))
    [payload] = unframed(asked, 1000)
    question = wire.read_question(payload)
    assert isinstance(question, wire.Ask)
    assert question.inspection.passages == (Passage("a?b", "user"),)


def test_a_length_that_makes_no_sense_is_told() -> None:
    """Before anything that long is waited for."""
    with pytest.raises(ValueError, match="longer"):
        list(wire.Frames().feed(b"\xff\xff\xff\xff"))
