"""The facts of one request: own time without waits, tokens as they are seen, and how it ended."""

from __future__ import annotations

import asyncio
import time

import pytest

from app.errors import INVALID_REQUEST, UPSTREAM_ERROR, GatewayError, Outcome
from app.exchange import Event, Operation, Usage
from app.pipeline.progress import CALL, FULL_SOCKET, LEFT, RELAY, STAGES, Progress

WAIT = 0.05


def progress() -> Progress:
    """A request that has just come."""
    return Progress("req_1", Operation.CHAT)


def event(tokens: int = 0, usage: Usage | None = None) -> Event:
    """One piece of an answer."""
    return Event(b"{}", {}, tokens, usage)


def test_every_stage_has_a_slot() -> None:
    """The numbers of the stages are their places in the list of names."""
    seen = progress()
    assert len(seen.own) == len(STAGES) == RELAY + 2
    assert (STAGES[CALL], STAGES[RELAY]) == ("call", "relay")


def test_a_wait_between_mark_and_resume_is_nobodys_time() -> None:
    """Only what the gateway itself spends is its own."""
    seen = progress()
    seen.mark(CALL)
    time.sleep(WAIT)
    seen.resume()
    seen.mark(RELAY)
    assert sum(seen.own) < WAIT


def test_time_between_marks_belongs_to_the_later_stage() -> None:
    """Stretches add up per stage."""
    seen = progress()
    for _ in range(2):
        time.sleep(WAIT)
        seen.mark(CALL)
    assert seen.own[CALL] >= 2 * WAIT
    assert sum(seen.own) == seen.own[CALL]


def test_a_slow_reader_is_no_overhead() -> None:
    """A write that took longer than a free socket needs was waiting for its caller; a quick one is own time."""
    seen = progress()
    time.sleep(FULL_SOCKET * 4)
    seen.sent()
    seen.mark(RELAY)
    assert seen.own[RELAY] < FULL_SOCKET * 4
    assert seen.last_at > seen.began


def test_tokens_add_up_and_the_last_usage_counts() -> None:
    """vLLM reports usage with every chunk: each replaces the one before; our own count goes on beside it."""
    seen = progress()
    seen.see([event(1), event(2, Usage(5, 1)), event(0)])
    seen.see([event(3, Usage(5, 9)), event(1)])
    assert (seen.counted, seen.reported) == (7, Usage(5, 9))
    seen.see([])
    assert (seen.counted, seen.reported) == (7, Usage(5, 9))


@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        (asyncio.CancelledError(LEFT), Outcome.CLIENT_CLOSED),
        (GeneratorExit(), Outcome.CLIENT_CLOSED),
        (asyncio.CancelledError(), Outcome.OVERLOADED),
        (asyncio.CancelledError("shutdown"), Outcome.OVERLOADED),
    ],
)
def test_who_ended_it_is_told_apart(how: BaseException, outcome: Outcome) -> None:
    """A caller who left is `client_closed`; any other cancellation is the gateway's own shutdown."""
    seen = progress()
    seen.cut(how)
    assert seen.outcome is outcome
    assert seen.shut_down is (outcome is Outcome.OVERLOADED)


def test_a_shutdown_is_remembered_when_the_generator_is_closed_after_it() -> None:
    """The cancellation comes first, the closing of the generator second: it does not make a caller leave."""
    seen = progress()
    seen.cut(asyncio.CancelledError("shutdown"))
    seen.cut(GeneratorExit())
    assert seen.outcome is Outcome.OVERLOADED


def test_a_wait_that_is_cut_is_no_overhead() -> None:
    """Five seconds of waiting for an upstream are not the gateway's because the caller left in them."""
    seen = progress()
    seen.mark(CALL)
    time.sleep(WAIT)
    seen.cut(asyncio.CancelledError(LEFT))
    seen.mark(RELAY)
    assert sum(seen.own) < WAIT


def test_an_error_sets_outcome_and_status_once() -> None:
    """The status that the caller already got stays; the outcome is the error's."""
    seen = progress()
    seen.fail(GatewayError(INVALID_REQUEST, "no"))
    assert (seen.outcome, seen.status) == (Outcome.REFUSED_INVALID, 400)
    streaming = progress()
    streaming.status = 200
    streaming.fail(GatewayError(UPSTREAM_ERROR, "broke"))
    assert (streaming.outcome, streaming.status) == (Outcome.UPSTREAM_ERROR, 200)


def test_a_request_is_an_internal_error_until_it_ends_otherwise() -> None:
    """A bug that skips every ending is not counted as a success."""
    assert progress().outcome is Outcome.INTERNAL_ERROR
