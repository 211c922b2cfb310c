"""One attempt: in flight from beginning to end, ended once, and what its result says about endpoint and retry."""

from __future__ import annotations

from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Failure, UpstreamFailure
from app.exchange import Arm
from app.pipeline.attempts import Attempt, Attempts
from app.pipeline.endpoints import STRIKES, EndpointState
from app.telemetry import ATTEMPTS, FIRST_CHUNK, IN_FLIGHT, OPERATION_DURATION, PER_CHUNK
from tests.pipeline.parts import Counted, call, deployment

ONE = deployment("one")


class Scene:
    """Attempts at one endpoint."""

    def __init__(self) -> None:
        self.telemetry = Counted()
        self.state = EndpointState(ONE.endpoints[0])
        self.now = 100.0
        self.attempts = Attempts(self.telemetry, lambda: self.now)

    def begin(self, *, stream: bool = True, arm: Arm = Arm.STABLE) -> Attempt:
        """One more."""
        return self.attempts.begin(call(stream=stream), arm, ONE, self.state)

    def in_flight(self) -> tuple[int, float]:
        """By the endpoint, and by the metric."""
        return self.state.in_flight, self.telemetry.total(IN_FLIGHT, "one")

    def results(self) -> dict[str, float]:
        """Attempts by result."""
        return {labels[2]: slots[0] for labels, slots in self.telemetry.read(ATTEMPTS).items()}


def test_an_attempt_is_in_flight_until_it_ends() -> None:
    """Endpoint and metric agree, and both come back to nothing."""
    scene = Scene()
    attempts = [scene.begin() for _ in range(3)]
    assert scene.in_flight() == (3, 3)
    for attempt in attempts:
        attempt.end("ok")
    assert scene.in_flight() == (0, 0)


def test_only_the_first_end_counts() -> None:
    """An answer that breaks off ends its attempt; leaving it behind afterwards changes nothing."""
    scene = Scene()
    attempt = scene.begin()
    attempt.answering(perf_counter())
    attempt.failed(UpstreamFailure(Failure.TRUNCATED, "x", sent=True))
    attempt.end("cut")
    attempt.end("ok")
    attempt.end_unless_answering()
    assert (scene.results(), scene.in_flight()) == ({"truncated": 1}, (0, 0))
    assert scene.telemetry.observed(OPERATION_DURATION, "truncated")[0] == 1


def test_an_attempt_that_is_left_behind_is_cancelled() -> None:
    """Its caller went while it was under way; one that answers belongs to its answer and goes on."""
    scene = Scene()
    left, answering = scene.begin(), scene.begin()
    answering.answering(perf_counter())
    left.end_unless_answering()
    answering.end_unless_answering()
    assert (scene.results(), scene.in_flight()) == ({"cancelled": 1}, (1, 1))
    answering.end("ok")
    assert scene.results() == {"cancelled": 1, "ok": 1}


@pytest.mark.parametrize(
    ("status", "retryable", "in_stream"),
    [
        (400, False, False), (404, False, False), (408, False, False), (429, True, True), (500, False, True),
        (502, False, True), (503, True, True), (504, False, True), (529, False, True), (302, False, False),
    ],
)  # fmt: skip
def test_what_may_be_retried(status: int, *, retryable: bool, in_stream: bool) -> None:
    """A 429 and a 503; at the head of a stream every fault of the upstream, for nothing was made."""
    scene = Scene()
    refused, first_event = scene.begin(), scene.begin()
    refused.refused(status)
    first_event.refused_in_stream(status)
    assert (refused.retryable, first_event.retryable) == (retryable, in_stream)
    assert scene.results() == {str(status): 2}


@pytest.mark.parametrize("failure", list(Failure))
def test_what_a_failure_means(failure: Failure) -> None:
    """Only a failed connection may be retried, and takes the endpoint out at once; others are strikes; time is none."""
    scene = Scene()
    attempt = scene.begin()
    attempt.failed(UpstreamFailure(failure, "x", sent=True))
    unreachable = failure in {Failure.CONNECT, Failure.CONNECT_TIMEOUT}
    assert (attempt.retryable, scene.state.up) == (unreachable, not unreachable)
    for _ in range(STRIKES):
        scene.begin().failed(UpstreamFailure(failure, "x", sent=True))
    assert scene.state.up is (failure is Failure.TOTAL_TIMEOUT)


def test_an_attempt_at_an_endpoint_that_is_down_is_a_trial() -> None:
    """It is counted as one until it ends, and a bad answer to it was the gateway's gamble."""
    scene = Scene()
    scene.state.unreachable(0.0)
    trial = scene.begin()
    assert scene.state.trials == 1
    trial.refused(500)
    assert (scene.state.trials, trial.gambled, trial.retryable, scene.state.up) == (0, True, False, False)
    good = scene.begin()
    good.answering(perf_counter())
    assert (scene.state.up, scene.state.trials) == (True, 1)
    good.end("ok")
    assert scene.state.trials == 0
    ordinary = scene.begin()
    ordinary.refused(500)
    assert not ordinary.gambled


@pytest.mark.parametrize("status", [400, 401, 404, 429])
def test_a_refusal_is_an_answer(status: int) -> None:
    """Who says no is there: a 4xx ends an exile as an answer does, and breaks a row of 5xx."""
    scene = Scene()
    scene.state.unreachable(0.0)
    scene.begin().refused(status)
    assert scene.state.up
    for refusal in (500, 500, status, 500, 500):
        scene.begin().refused(refusal)
    assert scene.state.up


def test_times_of_chunks_are_those_of_streams() -> None:
    """First chunk and the times between belong to streams; whole answers have a duration and no more."""
    scene = Scene()
    stream, whole = scene.begin(), scene.begin(stream=False)
    now = perf_counter()
    stream.answering(now + 1)
    stream.chunk(now + 3)
    stream.chunk(now + 4)
    whole.answering(now)
    stream.end("ok")
    whole.end("ok")
    assert scene.telemetry.observed(FIRST_CHUNK)[1] == pytest.approx(1, abs=0.5)
    assert scene.telemetry.observed(PER_CHUNK)[0] == 2
    assert scene.telemetry.observed(PER_CHUNK)[1] == pytest.approx(3)
    assert scene.telemetry.observed(OPERATION_DURATION)[0] == 2


ENDINGS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "answer", "ok", "cut", "left", "refused", "first", "failed"]),
        st.integers(0, 7),
        st.sampled_from([400, 429, 500, 503]),
        st.sampled_from(Failure),
    ),
    max_size=60,
)


@given(ENDINGS)
def test_nothing_is_counted_twice_or_forgotten(
    events: list[tuple[str, int, int, Failure]],
) -> None:
    """Whatever happens to attempts, in any order: each has one result in the end, and nothing stays in flight."""
    scene = Scene()
    attempts: list[Attempt] = []
    for what, number, status, failure in events:
        if what == "begin" or not attempts:
            attempts.append(scene.begin())
            continue
        attempt = attempts[number % len(attempts)]
        match what:
            case "answer":
                attempt.answering(perf_counter())
            case "left":
                attempt.end_unless_answering()
            case "refused":
                attempt.refused(status)
            case "first":
                attempt.refused_in_stream(status)
            case "failed":
                attempt.failed(UpstreamFailure(failure, "x", sent=True))
            case _:
                attempt.end(what)
    for attempt in attempts:
        attempt.end("cut")
    assert sum(scene.results().values()) == len(attempts)
    assert (scene.in_flight(), scene.state.trials) == ((0, 0), 0)
