"""Blocks: filled by starts, handed over in their order, complete or timed out, and nothing is kept of them."""

from __future__ import annotations

from app.control.blocks import LARGEST, SMALLEST, Book, block_size
from app.control.units import Meeting
from app.exchange import Result

GOOD, BAD = Result(), Result(error=True)


def fill(book: Book, first: int, count: int, at: float, *, epoch: int = 0, cohort: float = 0.0) -> list[str]:
    """Start requests of `count` new units; every fourth is the candidate's. Their names."""
    names = [f"{index}" for index in range(first, first + count)]
    for index, name in enumerate(names):
        assert book.started(name, Meeting(name, epoch, cohort), at, candidate=index % 4 == 3)
    return names


def kept(book: Book) -> int:
    """Everything that the book still holds."""
    return len(book._units) + len(book._running) + len(book._open) + len(book._sealed)


def test_a_block_waits_for_its_last_result() -> None:
    """Then it holds every unit of both arms, and the book holds nothing."""
    book = Book(horizon=60)
    names = fill(book, 0, SMALLEST, 0.0)
    for name in names[:-1]:
        book.ended(name, GOOD)
    assert book.closed(1.0) == []
    book.ended(names[-1], BAD)
    (block,) = book.closed(1.0)
    assert (len(block.stable), len(block.candidate)) == (15, 5)
    assert block.candidate[-1] == (BAD,)
    assert kept(book) == 0


def test_a_later_block_waits_for_an_earlier_one() -> None:
    """What ended early is not seen early: that would favour quick results."""
    book = Book(horizon=60)
    slow, quick = fill(book, 0, SMALLEST, 0.0), fill(book, 100, SMALLEST, 1.0)
    for name in quick:
        book.ended(name, BAD)
    assert book.closed(2.0) == []
    for name in slow:
        book.ended(name, GOOD)
    first, second = book.closed(3.0)
    assert {unit[0] for unit in first.stable} == {GOOD}
    assert {unit[0] for unit in second.stable} == {BAD}


def test_what_does_not_end_in_time_has_failed() -> None:
    """At the horizon after the block's last start; its result is then too late."""
    book = Book(horizon=30)
    names = fill(book, 0, SMALLEST, 10.0)
    assert book.closed(39.9) == []
    (block,) = book.closed(40.0)
    assert all(result.error for unit in (*block.stable, *block.candidate) for result in unit)
    book.ended(names[0], GOOD)
    assert kept(book) == 0


def test_what_runs_on_may_count_as_something_else() -> None:
    """A short horizon for long streams: what has not failed within it has not failed."""
    book = Book(horizon=30, unfinished=Result(streamed=True, total_s=30.0))
    names = fill(book, 0, SMALLEST, 0.0)
    book.ended(names[0], BAD)
    (block,) = book.closed(30.0)
    assert [result.error for unit in block.stable for result in unit] == [True, *[False] * 14]


def test_little_traffic_still_closes() -> None:
    """A block that does not fill is sealed after its span."""
    book = Book(horizon=5, span=60)
    for name in fill(book, 0, 3, 0.0):
        book.ended(name, GOOD)
    assert book.closed(59.0) == []
    assert len(book.closed(60.0)) == 1


def test_a_unit_is_observed_in_its_first_requests() -> None:
    """Two here: a third is ignored, and the block waits for the second."""
    book = Book(horizon=60, requests=2, span=10)
    assert book.started("r1", Meeting("ann", number=1), 0.0, candidate=True)
    book.ended("r1", GOOD)
    assert book.closed(20.0) == []
    assert book.started("r2", Meeting("ann", number=2), 21.0, candidate=True)
    assert not book.started("r3", Meeting("ann", number=3), 22.0, candidate=True)
    book.ended("r2", BAD)
    (block,) = book.closed(23.0)
    assert block.candidate == ((GOOD, BAD),)
    assert kept(book) == 0


def test_a_unit_that_comes_back_too_late_is_closed() -> None:
    """Its block was handed over: the second request is not an observation of its own."""
    book = Book(horizon=30, requests=2, span=10)
    book.started("r1", Meeting("ann", number=1), 0.0, candidate=False)
    book.ended("r1", GOOD)
    assert len(book.closed(50.0)) == 1
    assert not book.started("r2", Meeting("ann", number=2), 51.0, candidate=False)
    assert kept(book) == 0


def test_cohorts_and_epochs_are_not_mixed() -> None:
    """Each fills blocks of its own; they are handed over in the order in which they were sealed."""
    book = Book(horizon=60)
    fill(book, 0, SMALLEST - 1, 0.0)
    fill(book, 100, SMALLEST, 0.0, cohort=5.0)
    fill(book, 200, SMALLEST, 0.0, epoch=1)
    for index in (*range(SMALLEST - 1), *range(100, 100 + SMALLEST), *range(200, 200 + SMALLEST)):
        book.ended(str(index), GOOD)
    blocks = book.closed(0.5)
    assert [len(block.stable) + len(block.candidate) for block in blocks] == [SMALLEST, SMALLEST]
    assert len(book.closed(61.0)) == 1


def test_the_same_unit_in_two_epochs_is_two_observations() -> None:
    """A mover's old observation, still open, takes nothing of the new one."""
    book = Book(horizon=60, span=5)
    book.started("old", Meeting("ann", 1), 0.0, candidate=False)
    book.started("new", Meeting("ann", 2, 5.0), 1.0, candidate=True)
    book.ended("new", BAD)
    book.ended("old", GOOD)
    first, second = book.closed(10.0)
    assert (first.stable, first.candidate) == (((GOOD,),), ())
    assert (second.stable, second.candidate) == ((), ((BAD,),))


def test_too_many_units_are_skipped_and_counted() -> None:
    """Decided at the start, so it cannot depend on how they end."""
    book = Book(horizon=60, capacity=30)
    fill(book, 0, 30, 0.0)
    assert not book.started("more", Meeting("more"), 0.0, candidate=True)
    assert book.skipped == 1
    assert len(book._running) == 30


def test_results_of_strangers_are_ignored() -> None:
    """A request that was never observed."""
    book = Book(horizon=60)
    book.ended("who", BAD)
    assert kept(book) == 0


def test_blocks_grow_with_what_was_seen() -> None:
    """Small at first, when stable's rate is hardly known; never too large to be quick."""
    sizes = [block_size(seen) for seen in (0, 500, 5_000, 10**7)]
    assert sizes == [SMALLEST, SMALLEST, 100, LARGEST]


def test_much_traffic_seals_by_the_pace() -> None:
    """A block that is large enough does not wait for its full size."""
    book = Book(horizon=60, pace=1.0)
    for start in range(0, 5_000, SMALLEST):
        for name in fill(book, start, SMALLEST, 0.0):
            book.ended(name, GOOD)
        book.closed(0.0)
    book.closed(99.0)
    for name in fill(book, 10_000, SMALLEST, 100.0):
        book.ended(name, GOOD)
    assert book.closed(100.5) == []
    assert len(book.closed(101.0)) == 1
