"""Units: one observation per weight, movers beside those who stay, nobody whom the candidate served before."""

from __future__ import annotations

from random import Random

from app.control.units import Meeting, Unit, meet


def test_requests_are_numbered_in_each_epoch() -> None:
    """From 1, anew at each weight."""
    unit, first = meet("ann", None, 1, 5.0, candidate=False)
    unit, second = meet("ann", unit, 1, 5.0, candidate=False)
    unit, third = meet("ann", unit, 2, 25.0, candidate=False)
    assert [first, second, third] == [Meeting("ann", 1, 0.0, 1), Meeting("ann", 1, 0.0, 2), Meeting("ann", 2, 5.0, 1)]


def test_who_was_served_by_the_candidate_is_not_observed_again() -> None:
    """Not at a higher weight, not when he falls back to stable."""
    unit, meeting = meet("ann", None, 1, 5.0, candidate=True)
    assert meeting is not None
    for epoch, candidate in ((2, True), (3, False), (4, True)):
        unit, meeting = meet("ann", unit, epoch, 50.0, candidate=candidate)
        assert meeting is None


def test_a_mover_is_compared_with_those_who_stayed() -> None:
    """Both were seen at stable before: the same cohort, another than new users."""
    weights = {1: 10.0, 2: 30.0}
    mover, stayer = (meet(name, None, 1, weights[1], candidate=False)[0] for name in ("mover", "stayer"))
    moved, stayed, new = (
        meet(name, known, 2, weights[2], candidate=candidate)[1]
        for name, known, candidate in (("mover", mover, True), ("stayer", stayer, False), ("new", None, True))
    )
    assert moved is not None
    assert stayed is not None
    assert new is not None
    assert moved.cohort == stayed.cohort == 10.0
    assert new.cohort == 0.0


def test_the_cohort_is_the_highest_weight_at_stable() -> None:
    """After 30 % at stable a unit cannot be drawn by 20 %, so it stands apart from those of whom only 10 % is known."""
    unit, _ = meet("ann", None, 1, 30.0, candidate=False)
    unit, _ = meet("ann", unit, 2, 20.0, candidate=False)
    unit, meeting = meet("ann", unit, 3, 40.0, candidate=False)
    assert meeting is not None
    assert meeting.cohort == 30.0
    assert isinstance(unit, Unit)


def test_arms_of_a_cohort_are_alike() -> None:
    """Within a cohort, heavy and light users fall into the candidate in the same proportion, at every weight."""
    random = Random(1)
    heavy = [index < 3000 for index in range(6000)]
    places = [random.random() * 100 for _ in heavy]
    known: list[Unit | None] = [None] * len(heavy)
    for epoch, weight in enumerate((5.0, 20.0, 60.0)):
        drawn: dict[tuple[float, bool], list[bool]] = {}
        for index, place in enumerate(places):
            if heavy[index] or random.random() < 0.3:
                candidate = place < weight
                known[index], meeting = meet(str(index), known[index], epoch, weight, candidate=candidate)
                if meeting is not None:
                    drawn.setdefault((meeting.cohort, heavy[index]), []).append(candidate)
        for cohort in {key[0] for key in drawn}:
            ours, theirs = drawn.get((cohort, True)), drawn.get((cohort, False))
            if ours and theirs and len(theirs) > 100:
                assert abs(sum(ours) / len(ours) - sum(theirs) / len(theirs)) < 0.08
