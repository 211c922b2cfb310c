"""Which replica gets a request, which one leaves, how it comes back: the states by themselves, then real replicas."""

from __future__ import annotations

import math
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exchange import Endpoint
from app.pipeline.endpoints import FIRST_PAUSE, LONGEST_PAUSE, MISSES, STRIKES, Endpoints, EndpointState
from tests.pipeline.books import attempts, balanced, total
from tests.pipeline.parts import replicas
from tests.pipeline.replicas import PATIENCE, Replicas

TRIO = replicas(1, 2, 3)
PROBED = replicas(1, 2, 3, health="/health")
SOLE = replicas(1)


class Scene:
    """Endpoints with a clock that the test turns."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.endpoints = Endpoints(lambda: self.now)
        self.one, self.two, self.three = (self.endpoints.state(endpoint) for endpoint in TRIO.endpoints)

    def chosen(self, *tried: EndpointState, last_resort: bool = False) -> EndpointState | None:
        """The choice among the three, none of which has a health path."""
        return self.endpoints.choose(TRIO, {state.endpoint for state in tried}, last_resort=last_resort)

    def left(self, *states: EndpointState) -> None:
        """These cannot be reached."""
        for state in states:
            state.unreachable(self.now)


def test_least_in_flight() -> None:
    """Whoever has least to do."""
    scene = Scene()
    scene.one.in_flight, scene.two.in_flight, scene.three.in_flight = 2, 1, 2
    assert {scene.chosen() for _ in range(6)} == {scene.two}


def test_an_engine_that_sleeps_is_not_healthy() -> None:
    """Whatever its health path says; awake again, the next probe brings it back."""
    state = Scene().one
    state.sleeps(1000.0, asleep=True)
    state.healthy(1100.0)
    assert not state.up
    state.sleeps(1100.0, asleep=False)
    assert not state.up
    state.healthy(1100.0)
    assert state.up


def test_ties_go_round() -> None:
    """Equal replicas share equally."""
    scene = Scene()
    assert set(Counter(scene.chosen() for _ in range(30)).values()) == {10}


def test_not_again_where_it_was_tried() -> None:
    """A retry goes elsewhere; when all were tried there is nobody."""
    scene = Scene()
    assert scene.chosen(scene.one, scene.two) is scene.three
    assert scene.chosen(scene.one, scene.two, scene.three, last_resort=True) is None


def test_whoever_cannot_be_reached_leaves_at_once() -> None:
    """One failed connection is enough; the others go on."""
    scene = Scene()
    scene.left(scene.one)
    assert {scene.chosen() for _ in range(6)} == {scene.two, scene.three}


def test_three_errors_in_a_row_and_not_two() -> None:
    """An answer between begins the row anew."""
    scene = Scene()
    for _ in range(STRIKES - 1):
        scene.one.erred(scene.now)
    scene.one.answered()
    for _ in range(STRIKES - 1):
        scene.one.erred(scene.now)
    assert scene.one.up
    scene.one.erred(scene.now)
    assert not scene.one.up


def test_with_nowhere_else_to_go() -> None:
    """The last resort is whoever gave bad answers before whoever gave none, and only where it is asked for."""
    scene = Scene()
    scene.left(scene.one, scene.two)
    for _ in range(STRIKES):
        scene.three.erred(scene.now)
    assert scene.chosen() is None
    assert scene.chosen(last_resort=True) is scene.three
    assert scene.chosen(scene.three, last_resort=True) in {scene.one, scene.two}
    sole = scene.endpoints.choose(SOLE, set(), last_resort=True)
    assert sole is scene.one


def test_a_trial_is_due_after_the_pause_and_for_one_at_a_time() -> None:
    """One request is let through; while it is under way nobody else is; its answer ends the exile."""
    scene = Scene()
    scene.left(scene.one, scene.two, scene.three)
    scene.now += FIRST_PAUSE - 0.01
    assert scene.chosen() is None
    scene.now += 0.02
    trial = scene.chosen()
    assert trial is not None
    trial.trials += 1
    assert trial not in {scene.chosen() for _ in range(6)}
    trial.trials -= 1
    trial.answered()
    assert (trial.up, trial.pause) == (True, 0.0)


def test_streams_from_before_do_not_hold_up_the_trial() -> None:
    """An endpoint that left with requests still on it comes back all the same."""
    scene = Scene()
    scene.one.in_flight = 5
    scene.left(scene.one, scene.two, scene.three)
    scene.two.retry_at = scene.three.retry_at = scene.now + 100
    scene.now += FIRST_PAUSE
    assert scene.chosen() is scene.one


def test_the_pause_doubles_with_each_failed_trial() -> None:
    """One second to thirty, and anew after an answer."""
    scene = Scene()
    pauses = []
    for _ in range(8):
        scene.left(scene.one)
        pauses.append(scene.one.pause)
        scene.now = scene.one.retry_at
    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    scene.one.answered()
    scene.left(scene.one)
    assert scene.one.pause == FIRST_PAUSE


def test_requests_that_fail_together_are_one_failure() -> None:
    """Fifty connections that break at once do not exile an endpoint for half a minute."""
    scene = Scene()
    scene.left(*[scene.one] * 50)
    assert scene.one.retry_at == scene.now + FIRST_PAUSE


def test_a_probe_brings_back_who_could_not_be_reached() -> None:
    """Without a request, and without waiting for the pause: it asked the same question again."""
    scene = Scene()
    scene.left(scene.one)
    scene.one.healthy(scene.now)
    assert scene.one.up


def test_a_probe_does_not_bring_back_who_answers_badly() -> None:
    """A draining vLLM: healthy, and every chat a 500. After the pause the probe opens a trial, and no more."""
    scene = Scene()
    for _ in range(STRIKES):
        scene.one.erred(scene.now)
    scene.one.healthy(scene.now)
    assert (scene.one.up, scene.one.on_trial) == (False, False)
    scene.now += FIRST_PAUSE
    assert scene.endpoints.choose(PROBED, {scene.two.endpoint, scene.three.endpoint}, last_resort=False) is None
    scene.one.healthy(scene.now)
    assert (scene.one.up, scene.one.on_trial) == (False, True)
    assert scene.endpoints.choose(PROBED, {scene.two.endpoint, scene.three.endpoint}, last_resort=False) is scene.one
    scene.one.erred(scene.now)
    assert (scene.one.on_trial, scene.one.pause) == (False, 2 * FIRST_PAUSE)
    scene.now += 2 * FIRST_PAUSE
    scene.one.healthy(scene.now)
    scene.one.answered()
    assert scene.one.up


def test_one_late_probe_is_chance() -> None:
    """On a busy machine a probe may be late while requests succeed; two in a row without an answer between are not."""
    scene = Scene()
    for _ in range(10):
        scene.one.silent(scene.now)
        assert scene.one.up
        scene.one.answered()
    scene.one.silent(scene.now)
    scene.one.healthy(scene.now)
    for missed in range(1, MISSES + 1):
        scene.one.silent(scene.now)
        assert scene.one.up is (missed < MISSES)


def test_who_may_serve() -> None:
    """Ready is what is up or due for a trial: else a gateway without traffic would never learn that all is well."""
    scene = Scene()
    assert scene.endpoints.may_serve(TRIO)
    scene.left(scene.one, scene.two, scene.three)
    assert not scene.endpoints.may_serve(TRIO)
    scene.now += FIRST_PAUSE
    assert scene.endpoints.may_serve(TRIO)
    assert not scene.endpoints.may_serve(PROBED)
    scene.two.healthy(scene.now)
    assert scene.endpoints.may_serve(PROBED)


def test_states_outlive_a_reload() -> None:
    """A new table's deployment finds the states of addresses that the old one named; those that nobody names go."""
    scene = Scene()
    scene.left(scene.one)
    again = replicas(1, 2)
    assert {scene.endpoints.choose(again, set(), last_resort=False) for _ in range(4)} == {scene.two}
    scene.three.in_flight = 1
    scene.endpoints.retain(set(again.endpoints))
    assert scene.endpoints.state(scene.three.endpoint) is scene.three
    scene.three.in_flight = 0
    scene.endpoints.retain(set(again.endpoints))
    assert scene.endpoints.state(scene.three.endpoint) is not scene.three
    assert scene.endpoints.state(scene.one.endpoint) is scene.one


EVENTS = st.lists(
    st.sampled_from(["choose", "answered", "erred", "unreachable", "silent", "healthy", "left", "second", "minute"]),
    max_size=80,
)


@given(EVENTS, st.sampled_from(["plain", "probed"]))
def test_no_endpoint_is_lost_for_good(events: list[str], kind: str) -> None:
    """Whatever happened: once the upstream is well again, the next request after pause and probe finds the way back."""
    plan = {"plain": TRIO, "probed": PROBED}[kind]
    scene = Scene()
    state, others = scene.one, {scene.two.endpoint, scene.three.endpoint}
    for event in events:
        match event:
            case "choose" if scene.endpoints.choose(plan, others, last_resort=False) is state and not state.up:
                state.trials = 1
            case "left":
                state.trials = 0
            case "second" | "minute":
                scene.now += 1 if event == "second" else 60
            case "answered":
                state.answered()
            case "choose":
                pass
            case _:
                getattr(state, event)(scene.now)
        assert state.up is (state.pause == 0)
        assert state.retry_at <= scene.now + LONGEST_PAUSE
        assert not (state.up and state.on_trial)
    state.trials = 0
    scene.now += LONGEST_PAUSE
    state.healthy(scene.now)
    assert scene.endpoints.choose(plan, others, last_resort=False) is state
    state.answered()
    assert state.up


# Real replicas.


@pytest.fixture(scope="module")
def trio() -> Iterator[Replicas]:
    """Three upstreams and a gateway."""
    with ExitStack() as stack:
        yield Replicas(stack)


@pytest.fixture
def three(trio: Replicas) -> Iterator[Replicas]:
    """The same, everybody well before and after; nothing stays in flight, nothing is counted twice."""
    trio.reset()
    with balanced(trio.gateway):
        yield trio


def test_requests_spread_over_replicas(three: Replicas) -> None:
    """Requests that hang at every replica: each has as many as the others."""
    with three.held("plain-hangs", 9):
        assert three.running() == [3, 3, 3]


def test_a_replica_that_hangs_holds_up_nobody(three: Replicas) -> None:
    """Whoever waits for it waits; everybody else is served by the others."""
    frozen = three.upstreams[1]
    os.kill(frozen.pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(3) as pool:
            stuck = [pool.submit(three.gateway.chat, "plain") for _ in range(3)]
            three.gateway.until(lambda: sum(one.done() for one in stuck) == 2, seconds=PATIENCE)
            assert three.ask("plain", 8) == [200] * 8
            os.kill(frozen.pid, signal.SIGCONT)
            assert [one.result(PATIENCE).status_code for one in stuck] == [200] * 3
    finally:
        os.kill(frozen.pid, signal.SIGCONT)


def test_a_replica_that_crashes_leaves_and_comes_back_on_trial(three: Replicas) -> None:
    """Nobody notices: its requests are retried elsewhere. Started again on its port, it gets requests again."""
    three.kill(2)
    assert three.ask("plain", 9) == [200] * 9
    three.until_up("plain", 1, 1, 0)
    assert attempts(three.gateway, deployment="plain").get("connect", 0) >= 1
    three.restart(2)
    three.gateway.until(lambda: three.ask("plain", 1) == [200] and three.seen()[2] > 0, seconds=PATIENCE)
    three.until_up("plain", 1, 1, 1)


def test_probes_take_out_and_bring_back_without_a_request(three: Replicas) -> None:
    """A health path that says 503 and a crash are both seen in time, and so is their end."""
    three.upstreams[0].set(health=503)
    three.kill(2)
    three.until_up("probed", 0, 1, 0)
    before = three.seen()[0]
    assert three.ask("probed", 6) == [200] * 6
    assert three.seen()[0] == before
    three.upstreams[0].set(health=200)
    three.restart(2)
    three.until_up("probed", 1, 1, 1)


def test_a_draining_replica_does_not_come_back_on_its_health(three: Replicas) -> None:
    """Health says 200, chat 500: three callers see it, then only trials do, and those are made good elsewhere."""
    three.upstreams[1].set(engine="draining")
    seen = [status for _ in range(12) for status in three.ask("probed", 1)]
    assert sorted(seen) == [200] * (12 - STRIKES) + [502] * STRIKES
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < 3.5 or (three.seen()[1] == STRIKES and elapsed < PATIENCE):
        assert three.ask("probed", 1) == [200]
        time.sleep(0.05)
    trials = three.seen()[1] - STRIKES  # each after a probe, and after pauses of 1, 2, 4 s ...
    assert 1 <= trials <= 1 + math.log2(1 + elapsed)
    assert three.up("probed") == [1, 0, 1]
    three.upstreams[1].set(engine="ok")
    three.gateway.until(lambda: three.ask("probed", 1) == [200] and three.up("probed")[1] == 1, seconds=PATIENCE)


def test_a_reload_forgets_no_health(three: Replicas) -> None:
    """A changed price does not send requests to a replica that is down."""
    three.upstreams[0].set(health=503)
    three.until_up("probed", 0, 1, 1)
    three.gateway.write(three.config(price={"input": 1, "output": 2}))
    assert three.gateway.ops("/admin/v1/config/reload", method="POST").json()["result"] == "changed"
    before = three.seen()[0]
    assert three.ask("probed", 9) == [200] * 9
    assert three.seen()[0] == before


def test_a_deployment_without_any_replica_left(three: Replicas) -> None:
    """All are down: an honest 502 within the retry budget, and service as soon as one is back."""
    for place in range(3):
        three.kill(place)
    response = three.gateway.chat("plain")
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_error")
    assert "127.0.0.1" not in response.text
    line = three.gateway.line(response)
    assert (line["outcome"], line["usage"], line["attempts"]) == ("upstream_error", "nothing_sent", 3)
    three.restart(0)
    assert three.gateway.chat("plain").status_code == 200
    for place in (1, 2):
        three.restart(place)
    assert total(three.gateway, "sluicegate_in_flight", deployment="plain") == 0


def test_endpoints_are_the_same_address_or_not() -> None:
    """Health belongs to an address with everything that leads there, so a proxy's failure is not the direct way's."""
    scene = Scene()
    direct = Endpoint("http", "127.0.0.1", 1, "/v1")
    assert scene.endpoints.state(direct) is scene.one
    assert scene.endpoints.state(Endpoint("http", "127.0.0.1", 1, "/v1", proxy="http://p:1")) is not scene.one
