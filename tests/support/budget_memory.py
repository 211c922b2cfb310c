"""The same truth against the memory store: leaked requests, and processes that die and begin again from the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.metering import Allowances, Charge, Claim, Level, Policy, Verdict
from app.pipeline.reservation import Bound
from app.stores.memory import MemoryStore
from tests.support.budget_truth import BOUNDS, POLICIES, PRICE, Killed, Request, Task, Truth, allowances

LEASE_S = 900.0
PAUSES = (0.5, 2.0, 30.0, 950.0)


@dataclass
class Client:
    """One of the coroutines' owners. Once dead, nothing that it still says reaches the store."""

    store: MemoryStore
    dead: bool = False

    def at_once(self, claim: Claim) -> Verdict:
        """As the store's."""
        return self.store.at_once(claim)

    async def reserve(self, claim: Claim) -> Verdict:
        """As the store's."""
        return await self.store.reserve(claim)

    def settle(self, claim_id: str, charge: Charge) -> None:
        """As the store's."""
        if not self.dead:
            self.store.settle(claim_id, charge)

    async def levels(self, several: Allowances) -> list[Level]:
        """As the store's."""
        return await self.store.levels(several)


class MemoryWorld(Truth):
    """One process whose requests stand still between any two steps."""

    def __init__(self, seed: int, clients: int = 3) -> None:
        super().__init__(seed)
        self.stranded = 0
        self._count = 0
        self.allowances = [allowances(scale, self.tight) for scale in (100, 80, 120)]
        self.store = self._begin()
        self.clients = [Client(self.store) for _ in range(clients)]
        self.tasks: list[tuple[Client, Task, Request]] = []

    def begin(self, client: Client, which: tuple[int, int], bound: tuple[int, int], policy: Policy) -> None:
        """A request arrives; `which` is the version of the limits and the kind of request."""
        self._count += 1
        name = f"r{self._count}"
        request = self.requests[name] = Request(self.allowances[which[0]][which[1]])
        task = Task(self.serve(client, name, request, Bound(*bound, 1, (PRICE,)), policy))
        self.tasks.append((client, task, request))
        self._go(self.tasks[-1], None)

    def step(self) -> None:
        """One of the requests goes on."""
        if self.tasks:
            self._go(self.random.choice(self.tasks), None)

    def leak(self, client: Client) -> None:
        """All requests of a client vanish without settling."""
        client.dead = True
        for one in [one for one in self.tasks if one[0] is client]:
            self.stranded += self._bound()
            self._go(one, Killed())
        self.clients[self.clients.index(client)] = Client(self.store)

    def crash(self) -> None:
        """The process dies; the next one begins with what ledger and spool know."""
        self.crashes += 1
        for client in list(self.clients):
            self.leak(client)
        self.store = self._begin()
        self.clients = [Client(self.store) for _ in self.clients]

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        self.store.end_leases(self.now)

    def settle_down(self) -> None:
        """Every request ends, every lease too."""
        while self.tasks:
            self._go(self.tasks[0], None)
        self.advance(LEASE_S)

    def check_settled(self) -> None:
        """The store knows at least the truth, and at most what leaked requests strand beyond it."""
        self.check()
        most = self.spent(over=True)
        for counter, spent in self.spent().items():
            found = self.store._counters.get(counter)
            if found is None:
                assert counter[1] + 60 + 3600 < self.now, f"{counter} is forgotten too soon"
                continue
            assert spent <= found.taken <= most[counter] + self.stranded, f"{counter}: {found.taken} for {spent}"
        assert not self.store._open

    def _begin(self) -> MemoryStore:
        store = MemoryStore(lease=LEASE_S, wall=self.clock, monotonic=self.clock)
        store.restore(self.ledger(lambda _, __: True))
        return store

    @staticmethod
    def _bound() -> int:
        return 2 * Bound(*BOUNDS[-1], 1, (PRICE,)).charge().nano_usd

    def _go(self, one: tuple[Client, Task, Request], error: BaseException | None) -> None:
        _, task, _ = one
        try:
            task.at = task.coroutine.send(None) if error is None else task.coroutine.throw(error)
        except (StopIteration, Killed):
            self.tasks.remove(one)


def wander(world: MemoryWorld, steps: int) -> None:
    """A random walk; checks after every step, and again when all has settled down."""
    random = world.random
    for _ in range(steps):
        what = random.random()
        client: Any = random.choice(world.clients)
        if what < 0.3:
            which = random.randrange(3), random.randrange(3)
            world.begin(client, which, random.choice(BOUNDS), random.choice(POLICIES))
        elif what < 0.9:
            world.step()
        elif what < 0.95:
            world.advance(random.choice(PAUSES))
        elif what < 0.98:
            world.leak(client)
        else:
            world.crash()
        world.check()
    world.settle_down()
    world.check_settled()
