"""Budgets hold under every interleaving: hypothesis and seeded walks, against memory and against a real server.

`make prove WHAT=interleavings` runs the full count: 100 000 walks against each store. A walk that fails names its
seed; `redis_walks(server, range(seed, seed + 1))` repeats it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from app.stores.redis import SCRIPT
from tests.proofs.interleavings import STEPS, memory_walks, redis_walks
from tests.support.budget_truth import BOUNDS, POLICIES
from tests.support.budget_world import CHORES, FATES, PAUSES, SLICE_S, Client, Server, World
from tests.support.redis import Redis

MUTANTS = {
    "forgets one scope": (
        "need > rests[i] + 0.000001 and not forced",
        "need > rests[i] + 0.000001 and not forced and i ~= 2",
    ),
    "refunds what was sent when a lease ends": ("record.sent and row[2] ~= 'o' and row[5] or 0", "0"),
    "takes a claim after its settlement": ("save(id, { state = 'settled' }, TOMB_S)", ""),
    "takes a claim twice": (
        "if record and record.state ~= 'open' then return { GONE } end",
        "if record and record.state ~= 'open' then record = nil end",
    ),
    "counts a bound and the settlement after it": (
        "local before = state == 'bound' and amount or 0",
        "local before = 0",
    ),
    "charges a window that is over": ("if not (forced or moved) and (now < start or now >= ends)", "if false"),
    "draws slices without end": ("math.floor(limit / 50) - out,", ""),
    "draws slices from the last tenth": ("rest * 10 >= limit", "true"),
}


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    """A real server."""
    with Redis() as server:
        yield server


@pytest.fixture
def server(redis: Redis) -> Iterator[Server]:
    """A connection to it, with the real script."""
    one = Server(str(redis.socket))
    yield one
    one.close()


class Machine(RuleBasedStateMachine):
    """The rules of the world, for hypothesis to choose and to shrink."""

    server: ClassVar[Server]

    @initialize(seed=st.integers(0, 2**16))
    def begin_world(self, seed: int) -> None:
        """A fresh world."""
        self.world = World(self.server, seed)

    def client(self, index: int) -> Client:
        """One of them."""
        return self.world.clients[index]

    @rule(index=st.integers(0, 2), kind=st.integers(0, 2), bound=st.sampled_from(BOUNDS), policy=st.integers(0, 2))
    def begin(self, index: int, kind: int, bound: tuple[int, int], policy: int) -> None:
        """A request arrives."""
        self.world.begin(self.client(index), kind, bound, POLICIES[policy])

    @rule(index=st.integers(0, 2), at=st.integers(0, 5), fate=st.sampled_from(FATES))
    def step(self, index: int, at: int, fate: str) -> None:
        """A coroutine goes on."""
        client = self.client(index)
        if at < len(client.tasks):
            self.world.step(client, client.tasks[at], fate)

    @rule(index=st.integers(0, 2), which=st.sampled_from(CHORES))
    def chore(self, index: int, which: str) -> None:
        """A background step begins."""
        self.world.chore(self.client(index), which)

    @rule(seconds=st.sampled_from(PAUSES))
    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.world.advance(seconds)

    @rule(index=st.integers(0, 2), what=st.sampled_from(("poll", "rebuild", "crash", "reach")))
    def happen(self, index: int, what: str) -> None:
        """Something happens to a worker."""
        getattr(self.world, what)(self.client(index))

    @rule(what=st.sampled_from(("arrive", "arrive", "wipe", "close")))
    def befall(self, what: str) -> None:
        """Something happens to the server."""
        getattr(self.world, what)()

    @invariant()
    def holds(self) -> None:
        """No budget is exceeded."""
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        """All settles down."""
        if hasattr(self, "world"):
            self.world.settle_down()
            self.world.check_settled()


def test_hypothesis_finds_no_overshoot(server: Server) -> None:
    """No sequence of rules that hypothesis tries exceeds a budget or strands more than is stated."""
    quiet = (HealthCheck.too_slow, HealthCheck.filter_too_much)
    config = settings(max_examples=150, stateful_step_count=STEPS, deadline=None, suppress_health_check=quiet)
    Machine.server = server
    run_state_machine_as_test(Machine, settings=config)


def test_walks_against_a_real_server(server: Server) -> None:
    """Random walks with crashes, lost and late commands and lost state: overshoot 0, stranded within its bound."""
    assert redis_walks(server, range(400)).granted > 1000


def test_walks_against_memory() -> None:
    """The same for memory, where a process that dies begins again from the ledger."""
    assert memory_walks(range(200)).granted > 1000


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_more_walks(server: Server) -> None:
    """Three thousand against each; `make prove` runs a hundred thousand."""
    redis_walks(server, range(400, 3_400))
    memory_walks(range(200, 3_200))


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_script_is_caught(redis: Redis, mutant: str) -> None:
    """The walks find every one of these mistakes: a test of the test."""
    right, wrong = MUTANTS[mutant]
    assert SCRIPT.count(right) == 1
    broken = Server(str(redis.socket), SCRIPT.replace(right, wrong))
    try:
        with pytest.raises(AssertionError, match="seed"):
            redis_walks(broken, range(2000))
    finally:
        broken.close()


def sent_after_a_rebuild(world: World) -> None:
    """A reservation is made, the state is lost and rebuilt without it, others fill the budget, then it is sent."""
    slow, busy, _ = world.clients
    reserve(world, slow)
    world.wipe()
    while world.rebuilds == 0:
        world.advance(SLICE_S)
        for client in world.clients:
            world.poll(client)
            world.rebuild(client)
            while client.chores:
                world.step(client, client.chores[0], "done")
    for client in world.clients:
        world.poll(client)
    while not world.refused:
        reserve(world, busy)
    for client in (busy, slow):
        for task in client.tasks:
            world.step(client, task, "done")  # sends
            world.check()


def reserve(world: World, client: Client) -> None:
    """A request of the largest bound arrives and gets its reservation, or is refused."""
    world.begin(client, 1, BOUNDS[-1], POLICIES[0])
    while client.tasks and (at := client.tasks[-1].at) is not None and at.command is not None:
        world.step(client, client.tasks[-1], "done")


def test_a_missing_fence_is_caught(server: Server) -> None:
    """Without the rule that a reservation must be sent soon, a rebuild can miss what is sent after it."""
    with_it = World(server, 0)
    sent_after_a_rebuild(with_it)
    assert with_it.granted > 2
    assert with_it.refused == 2  # one for want of budget, and the one that came too late
    with pytest.raises(AssertionError, match="of 2200"):
        sent_after_a_rebuild(World(server, 0, fence=False))
