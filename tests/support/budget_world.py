"""A small world of gateways that share one limit store: virtual time, crashes, lost and late commands, lost state.

The store's code is the real one, and so is the code that rebuilds a lost state; the server is a real Redis or Valkey,
only the clock line of the script is replaced. Each worker is a host of its own: what it has not delivered into the
ledger is in its spool alone.
"""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from app.metering import NOTHING, Allowances, Charge, Policy, Spent
from app.pipeline.reservation import Bound, StoreUnavailable
from app.stores.rebuild import Rebuilder
from app.stores.redis import SCRIPT, RedisStore
from app.stores.resp import Unanswered, _parse, encode
from tests.support.budget_truth import (
    BOUNDS,
    POLICIES,
    PRICE,
    Killed,
    Request,
    Task,
    Truth,
    Wait,
    allowances,
    of,
)

TAG = b"{sluicegate}"
_DRAW, _OPEN = encode((b"draw",)), encode((b"open",))
HOSTS = ("h1", "h2", "h3")
SLICE_S = 10.0
LEASE_S = 900.0
CLOCK = "redis.call('TIME')"
VIRTUAL = "{redis.call('HGET', '{sluicegate}:clock', 's'), redis.call('HGET', '{sluicegate}:clock', 'u')}"


class Server:
    """A real Redis, asked synchronously over its unix socket. `script` may be a mutant."""

    def __init__(self, path: str, script: str = SCRIPT) -> None:
        assert CLOCK in script
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        sha = self.command(b"SCRIPT", b"LOAD", script.replace(CLOCK, VIRTUAL).encode())
        self._head = encode((b"EVALSHA", sha, b"1", TAG))

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def command(self, *parts: bytes) -> Any:
        """Run a plain command."""
        return self._ask(b"*%d\r\n%b" % (len(parts), encode(parts)))

    def script(self, count: int, encoded: bytes) -> list[str]:
        """Run the script."""
        reply = self._ask(b"*%d\r\n%b%b" % (count + 4, self._head, encoded))
        assert isinstance(reply, list), reply
        return [one.decode() if isinstance(one, bytes) else str(one) for one in reply]

    def _ask(self, data: bytes) -> Any:
        self._socket.sendall(data)
        reply = self._socket.recv(1 << 20)
        while not reply.endswith(b"\r\n"):
            reply += self._socket.recv(1 << 20)
        return _parse(reply, 0)[0]


class FakeLine:
    """Stands in for `line.Line`: every command waits for the world to decide what becomes of it."""

    def __init__(self) -> None:
        self.epoch = ""
        self.server = "server"
        self.reachable = True

    @property
    def up(self) -> bool:
        """As Line's."""
        return bool(self.epoch) and self.reachable

    async def run(self, count: int, encoded: bytes) -> list[int]:
        """As Line's."""
        reply = [int(one) for one in await self.texts(count, encoded)]
        if reply[0] == -1:
            self.epoch = ""
        return reply

    async def texts(self, count: int, encoded: bytes) -> list[str]:
        """As Line's."""
        reply: list[str] = await Wait((count, encoded))
        return reply


@dataclass
class Known:
    """A row of the hosts' table."""

    id: str
    name: str = ""


class Spools:
    """Stands in for a host's delivery, its ledger and the table of hosts, as `Rebuilder` asks them."""

    def __init__(self, world: World, host: str) -> None:
        self._world = world
        self.own = host

    async def opened(self) -> list[Any]:
        """As Spending's: what is open here, once the rest is in the ledger."""
        return self._world.deliver(self.own)

    async def sums(self, now: float, besides: Collection[str]) -> list[Spent]:  # all windows are told
        """As Spending's: the ledger alone, whoever delivered."""
        return self._world.ledger(lambda name, one: one.delivered and name not in besides)

    async def known(self) -> list[Known]:
        """As Hosts'."""
        return [Known(host) for host in HOSTS]


@dataclass
class Opened:
    """An entry of a spool, as far as a rebuild looks at it."""

    request_id: str
    at: float
    charged: Charge
    allowances: Allowances


@dataclass
class Client:
    """One worker process, on the host of its place."""

    line: FakeLine
    store: RedisStore
    rebuilder: Rebuilder
    host: str
    allowances: tuple[Allowances, ...]
    requests: dict[str, Task] = field(default_factory=dict)
    chores: list[Task] = field(default_factory=list)

    @property
    def tasks(self) -> list[Task]:
        """Everything that runs in it."""
        return [*self.requests.values(), *self.chores]


class World(Truth):
    """Clients, a server, a clock, a ledger."""

    def __init__(self, server: Server, seed: int, clients: int = 3, *, fence: bool = True) -> None:
        super().__init__(seed, fence=fence)
        self.strandable: dict[str, int] = defaultdict(int)
        self._server = server
        self._count = self._names = 0
        self._late: list[tuple[int, bytes]] = []
        self._server.command(b"FLUSHALL")
        self._tell_time()
        self._server.script(3, encode((b"lose", b"", b"1")))
        self._server.script(4, encode((b"open", b"first.1", b"0", b"0")))
        self.clients = [self._start(100, host) for host in HOSTS[:clients]]

    # --- what may happen -----------------------------------------------------------------------------------

    def begin(self, client: Client, kind: int, bound: tuple[int, int], policy: Policy) -> None:
        """A request arrives."""
        self._count += 1
        name = f"r{self._count}"
        request = self.requests[name] = Request(client.allowances[kind], host=client.host)
        work = self.serve(client.store, name, request, Bound(*bound, 1, (PRICE,)), policy)
        task = client.requests[name] = Task(work)
        self._go(client, task, None)

    def chore(self, client: Client, which: str) -> None:
        """A background step begins: flush, refill or reap."""
        task = Task(getattr(client.store, which)())
        client.chores.append(task)
        self._go(client, task, None)

    def step(self, client: Client, task: Task, fate: str) -> None:
        """A coroutine goes on: its command is done, its reply is lost, it never comes, or it comes late."""
        command = task.at.command if task.at is not None else None
        if command is None:
            self._go(client, task, None)
        elif fate == "done":
            self._go(client, task, self._run(command))
        else:
            if fate == "unheard":
                self._run(command)
            elif fate == "late":
                self._late.append(command)
            self._go(client, task, Unanswered("lost", asked=True))

    def arrive(self) -> None:
        """A late command comes at last."""
        if self._late:
            self._run(self._late.pop(self.random.randrange(len(self._late))))

    def crash(self, client: Client) -> None:
        """A worker is killed, between any two commands, and another takes its place, perhaps with other limits."""
        self.crashes += 1
        for name in {*client.requests, *client.store._outbox} & self.requests.keys():
            for budget in self.requests[name].allowances.budgets:
                self.strandable[budget.name] += of(budget, Bound(*BOUNDS[-1], 2, (PRICE,)).charge())
        for one in client.allowances[-1].budgets:
            self.strandable[one.name] += one.limit // 50
        for task in client.tasks:
            if task.at is not None and task.at.command is not None and self.random.random() < 0.5:
                self._run(task.at.command)
            self._throw(task)
        self.clients[self.clients.index(client)] = self._start(self.random.choice((100, 100, 80, 120)), client.host)

    def wipe(self) -> None:
        """The server loses everything."""
        self._server.command(b"FLUSHALL")
        self._tell_time()

    def close(self) -> None:
        """The server was restarted with its data: whoever connects first closes the epoch."""
        self._server.command(b"DEL", TAG + b":epoch")

    def reach(self, client: Client) -> None:
        """A worker loses the server, or finds it again."""
        client.line.reachable = not client.line.reachable

    def poll(self, client: Client) -> None:
        """A worker asks for the epoch."""
        client.line.epoch = self._epoch().decode()

    def rebuild(self, client: Client) -> None:
        """A worker goes on with a rebuild, where one is due."""
        task = Task(client.rebuilder.go_on())
        client.chores.append(task)
        self._go(client, task, None)

    def deliver(self, host: str) -> list[Any]:
        """A host delivers what has ended, and what its dead workers left open; the rest."""
        running = {name for one in self.clients for name in one.requests}
        opened = []
        for name, one in self.requests.items():
            if one.host == host and not one.delivered:
                one.delivered = one.closed or name not in running
                if not one.delivered and one.billable != NOTHING:
                    opened.append(Opened(name, one.reserved_at, one.billable, one.allowances))
        return opened

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        self._tell_time()

    def settle_down(self) -> None:
        """Every request ends, every settlement arrives, every slice is given back; crashed workers' leases end."""
        for _ in range(4):
            while self._late:
                self.arrive()
            for client in self.clients:
                self._finish(client)
            self._reopen()
            self.advance(SLICE_S)
            for client in self.clients:
                for which in ("refill", "flush"):
                    self.chore(client, which)
                    self._finish(client)
        self.advance(LEASE_S)
        for _ in range(5):
            self.chore(self.clients[0], "reap")
            self._finish(self.clients[0])

    def check_settled(self) -> None:
        """After `settle_down`: the store knows at least the truth, and at most what crashes may strand beyond it."""
        self.check()
        least = self.spent()
        for (name, start), spent in self.spent(over=True).items():
            key = TAG + b":" + self._epoch() + f":{name}:{start}".encode()
            used, held, escrow = (
                int(one or 0) for one in self._server.command(b"HMGET", key, b"used", b"held", b"esc")
            )
            most = spent + self.strandable[name]  # a crash may lose overage: the ledger has it
            assert (held, escrow) == (0, 0), f"{name}: {held} still held, {escrow} in slices"
            assert least[name, start] <= used <= most, f"{name}: {used}, not {least[name, start]} to {most}"

    # --- inside --------------------------------------------------------------------------------------------------

    def _start(self, scale: int, host: str) -> Client:
        self._names += 1
        line: Any = FakeLine()
        times = {"lease": LEASE_S, "slice_seconds": SLICE_S}
        store = RedisStore(line, name=f"w{self._names}", workers=3, wall=self.clock, monotonic=self.clock, **times)
        spools: Any = Spools(self, host)
        scope: Any = lambda one: one.allowances  # noqa: E731 # of `Opened`
        rebuilder = Rebuilder(line, store, spools, spools, spools, scope, SLICE_S, self.clock)
        client = Client(line, store, rebuilder, host, allowances(scale, self.tight))
        self.poll(client)
        return client

    def _reopen(self) -> None:
        for _ in range(10):
            if self._epoch():
                break
            for client in self.clients:
                self.poll(client)
                self.rebuild(client)
                self._finish(client)
            self.advance(SLICE_S)
        assert self._epoch(), "it never opens again"
        for client in self.clients:
            client.line.reachable = True
            self.poll(client)

    def _go(self, client: Client, task: Task, result: Any) -> None:
        try:
            go = task.coroutine.throw if isinstance(result, BaseException) else task.coroutine.send
            task.at = go(result)
            return
        except (StopIteration, StoreUnavailable):
            pass
        client.requests = {name: one for name, one in client.requests.items() if one is not task}
        client.chores = [one for one in client.chores if one is not task]

    @staticmethod
    def _throw(task: Task) -> None:
        with suppress(Killed, StopIteration):
            task.coroutine.throw(Killed())

    def _run(self, command: tuple[int, bytes]) -> list[str]:
        reply = self._server.script(*command)
        if reply[0] == "1" and command[1].startswith(_DRAW):
            self._check_slices(command[1], [int(one) for one in reply])
        elif reply[0] == "1" and command[1].startswith(_OPEN):
            self.rebuilds += 1
        return reply

    def _check_slices(self, encoded: bytes, reply: list[int]) -> None:
        """All slices of a budget are at most a fiftieth of it, and none is drawn from its last tenth."""
        parts, at = [], 0
        while at < len(encoded):
            part, at = _parse(encoded, at)
            parts.append(part.decode() if isinstance(part, bytes) else "")
        for index in range(int(parts[4])):
            _, _, name, limit, _, start, _ = parts[5 + index * 7 : 12 + index * 7]
            got, rest = reply[1 + index * 2 : 3 + index * 2]
            key = TAG + f":{parts[1]}:{name}:{start}".encode()
            slices = int(self._server.command(b"HGET", key, b"esc") or 0)
            assert got == 0 or slices <= int(limit) // 50, f"{name}: {slices} in slices of {limit}"
            assert got == 0 or rest * 10 >= int(limit), f"{name}: {got} drawn of {rest} left"

    def _finish(self, client: Client) -> None:
        while client.tasks:
            self.step(client, client.tasks[0], "done")

    def _epoch(self) -> bytes:
        return self._server.command(b"GET", TAG + b":epoch") or b""

    def _tell_time(self) -> None:
        seconds = int(self.now)
        micros = int((self.now - seconds) * 1e6)
        self._server.command(b"HSET", TAG + b":clock", b"s", b"%d" % seconds, b"u", b"%d" % micros)


FATES = ("done", "done", "done", "done", "done", "unheard", "never", "late")
CHORES = ("flush", "refill", "refill", "reap")
PAUSES = (0.5, 2.0, 5.0, 10.0, 30.0, 950.0)


def wander(world: World, steps: int) -> None:
    """A random walk through everything that may happen; checks after every step, and after all has settled."""
    random = world.random
    for _ in range(steps):
        client = random.choice(world.clients)
        what = random.random()
        if what < 0.25:
            world.begin(client, random.randrange(3), random.choice(BOUNDS), random.choice(POLICIES))
        elif what < 0.72:
            if client.tasks:
                world.step(client, random.choice(client.tasks), random.choice(FATES))
        elif what < 0.86:
            world.chore(client, random.choice(CHORES))
        elif what < 0.90:
            world.advance(random.choice(PAUSES))
        else:
            _seldom(world, client, what)
        world.check()
    world.settle_down()
    world.check_settled()


def _seldom(world: World, client: Client, what: float) -> None:
    if what < 0.92:
        world.poll(client)
    elif what < 0.94:
        world.arrive()
    elif what < 0.96:
        world.crash(client)
    elif what < 0.97:
        world.reach(client)
    elif what < 0.975:
        world.random.choice((world.wipe, world.close))()
    elif what < 0.98:
        world.deliver(client.host)
    else:
        world.poll(client)
        world.rebuild(client)
