"""What a request costs where there is much to look up: tenants, keys, models, and a ledger of many rows.

    python -m loadtests.growth [--tenants 100000] [--keys 1000000] [--models 1000] [--rows 10000000] [--rounds 5]

Three workers stand on one core and take requests in turns, of keys and models drawn at random: one with all of that,
one with no more than what the requests ask for, and one with next to nothing. The second to the third says what many
callers cost (each is in no cache when it comes again), the first to the second what it costs that others exist. Each
tenant has a budget and a limit. Then keys are made beside requests, and it is told how soon they work and what that
does to the requests. The default needs 7 GB of disk.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import sqlite3
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import orjson
import uvloop

from app.entry import NAMES
from app.stores.migrate import upgrade
from app.stores.sql import engine
from loadtests.bench import choose_cores, upstream_launch
from loadtests.client import Kept, Load, Target
from loadtests.line import Shot
from loadtests.peers.base import Site
from loadtests.peers.sluicegate import Served, config, serve
from loadtests.round import Subject, settled
from loadtests.server import Server, free_port, settled_on
from loadtests.stats import paired_ratio, quantile
from loadtests.workload import WHOLE_MODEL, Door, chat, check_whole

_CONNECTIONS = 32
_SHOTS = 5000
"""Different requests that a load goes round, each with a key of its own where there are as many."""
_AT_ONCE = 20_000
_SETTINGS = orjson.dumps(
    {"budgets": [{"window": "month", "tokens": 10**12}], "limits": {"requests_per_minute": 10**6}}
).decode()
_ADMIN = "growth-admin"
_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is to look up."""

    tenants: int
    keys: int
    models: int
    rows: int


@dataclass(slots=True)
class House:
    """A worker of this size, running."""

    size: Size
    subject: Subject
    ops: int
    shots: list[Shot]
    start_s: float
    costs: list[float] = field(default_factory=list)
    """Microseconds of CPU per request, one a round."""
    latencies: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def text(self) -> str:
        """One line for people."""
        what = f"{self.size.tenants} tenants, {self.size.keys} keys, {self.size.models} models, {self.size.rows} rows"
        costs = f"{quantile(self.costs, 0.5):.1f} µs ({min(self.costs):.1f}–{max(self.costs):.1f})"
        memory = f"{self.subject.memory() / 2**20:.0f} MiB"
        p99 = f"p99 {quantile(self.latencies, 0.99) * 1e3:.2f} ms"
        return f"{what}: ready after {self.start_s:.1f} s, {memory}, {costs} of CPU per request, {p99}"


def secret(number: int) -> str:
    """That of the key with this number."""
    return f"sk-sg-growth-{number}"


def key_rows(size: Size) -> Iterator[tuple[Any, ...]]:
    """The keys, spread evenly over the tenants."""
    for number in range(size.keys):
        digest = hashlib.sha256(secret(number).encode()).hexdigest()
        yield f"key_{number}", f"tenant-{number % size.tenants}", f"key-{number}", digest, "sk-sg-grow", "{}", 0.0


def ledger_rows(size: Size) -> Iterator[tuple[Any, ...]]:
    """Requests of the last hundred days, spread over tenants and keys."""
    plain: dict[str, Any] = dict.fromkeys(NAMES, 0) | {
        "model": "model-0", "deployment": "to-model-0", "arm": "stable", "operation": "chat", "purpose": "request",
        "outcome": "ok", "method": "reported", "template": None, "count_method": None, "first_token_seconds": None,
    }  # fmt: skip
    names = list(plain)
    values = list(plain.values())
    places = [names.index(name) for name in ("request_id", "at", "tenant", "key")]
    now = time.time()
    for number in range(size.rows):
        key = number % size.keys
        told = f"req_{number:032x}", now - 8_640_000 * number / size.rows, f"tenant-{key % size.tenants}", f"key-{key}"
        for place, value in zip(places, told, strict=True):
            values[place] = value
        yield tuple(values)


def fill(path: Path, size: Size) -> None:
    """A database with all of it, as migrations and admin API would have made it."""
    asyncio.run(_tables(path))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        tenants = ((f"tenant-{number}", _SETTINGS, 0.0) for number in range(size.tenants))
        _insert(connection, "tenants", ("name", "settings", "created"), tenants)
        columns = ("id", "tenant", "name", "digest", "hint", "settings", "created")
        _insert(connection, "keys", columns, key_rows(size))
        _insert(connection, "ledger", NAMES, ledger_rows(size))
        # What makes a gateway read them: the number of changes that there were.
        changes = ((0.0, "growth", "create key", "-", None, None) for _ in range(10_000))
        _insert(connection, "audit", ("at", "who", "what", "subject", "before", "after"), changes)
    connection.close()


def _insert(
    connection: sqlite3.Connection, table: str, columns: Sequence[str], rows: Iterator[tuple[Any, ...]]
) -> None:
    places = ", ".join("?" * len(columns))
    wanted = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 -- names, no values
    while some := list(islice(rows, _AT_ONCE)):
        connection.executemany(wanted, some)


async def _tables(path: Path) -> None:
    database = engine(f"sqlite+aiosqlite:///{path}")
    await upgrade(database)
    await database.dispose()


def build(size: Size, folder: Path, upstream: int, core: int, stack: ExitStack) -> House:
    """Start a worker of this size on the core."""
    folder.mkdir()
    fill(folder / "ledger.db", size)
    port, ops = free_port(), free_port()
    served = [Served(f"model-{number}", upstream, WHOLE_MODEL) for number in range(size.models)]
    document = config(port, ops, served) | {"admin": {"key": f"file:{folder}/admin"}}
    (folder / "admin").write_text(_ADMIN)
    document["telemetry"] = {"access_log": "none"}
    launch = serve(Site(port, upstream, folder), document)
    begun = time.monotonic()
    server = stack.enter_context(Server(launch, folder / "gateway.log", [core]))
    started = time.monotonic() - begun
    drawn = random.Random(1)
    shots = []
    keys = drawn.sample(range(size.keys), min(size.keys, _SHOTS))
    for key in islice(cycle(keys), _SHOTS):
        door = Door("127.0.0.1", port, (("authorization", f"Bearer {secret(key)}"),))
        shots.append(door.shot(chat(f"model-{drawn.randrange(size.models)}", stream=False)))
    return House(size, Subject(Door("127.0.0.1", port), server), ops, shots, started)


async def load(house: House, requests: int, seconds: float) -> None:
    """A closed loop over the house's requests; their CPU is noted."""
    kept = Kept()
    door = house.subject.door
    source = islice(cycle(house.shots), requests)
    before = house.subject.cpu()
    ran = await Load(Target(door.host, door.port), source, kept, seconds=seconds).run(_CONNECTIONS)
    used = await settled(house.subject) - before
    house.faults += kept.faults(check_whole)
    house.costs.append(used / max(1, ran.sent) * 1e6)
    house.latencies += [answer.seconds for answer in kept.answers]


def make_key(house: House, number: int) -> tuple[float, float]:
    """Seconds until a new key was made, and until its first request was answered."""
    door = house.subject.door
    begun = time.perf_counter()
    wanted = {"tenant": "tenant-0", "name": f"made-{number}"}
    made = _post(f"http://127.0.0.1:{house.ops}/admin/v1/keys", _ADMIN, wanted)
    done = time.perf_counter()
    body = orjson.loads(chat("model-0", stream=False))
    _post(f"http://127.0.0.1:{door.port}{door.path}", made["secret"], body)
    return done - begun, time.perf_counter() - begun


def _post(url: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(url, orjson.dumps(body), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        document: dict[str, Any] = orjson.loads(answer.read())
    return document


async def beside(house: House, count: int) -> str:
    """Keys made while one caller asks; a line for people."""
    kept, door = Kept(), house.subject.door
    seconds = count * _PAUSE_S + 1
    asking = asyncio.create_task(
        Load(Target(door.host, door.port), cycle(house.shots), kept, seconds=seconds).run(1), name="growth: ask"
    )
    times = []
    for number in range(count):
        times.append(await asyncio.to_thread(make_key, house, number))
        await asyncio.sleep(_PAUSE_S)
    await asking
    house.faults += kept.faults(check_whole)
    made, works = (quantile([one[place] for one in times], 0.5) * 1e3 for place in (0, 1))
    worst = max(answer.seconds for answer in kept.answers) * 1e3
    return (
        f"a new key was made in {made:.1f} ms and had its answer after {works:.1f}; beside it the slowest of "
        f"{len(kept.answers)} requests took {worst:.1f} ms"
    )


async def compare(houses: Sequence[House], args: argparse.Namespace) -> None:
    """In turns, so that what drifts drifts for all."""
    for house in houses:
        await load(house, args.requests, 60)
        house.costs.clear()
        house.latencies.clear()
    for number in range(args.rounds):
        for house in houses if number % 2 == 0 else reversed(houses):
            await load(house, args.requests, 60)
    for house in houses:
        print(house.text())
    small, asked, grown = houses
    for what, one, other in (("asked for to small", asked, small), ("grown to asked for", grown, asked)):
        ratio = paired_ratio(one.costs, other.costs)
        print(f"CPU per request, {what}: {ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})")
    for house in houses:
        print(f"with {house.size.keys} keys {await beside(house, args.made)}")


def main(argv: list[str] | None = None) -> int:
    """Print what was found; 1 where an answer was wrong."""
    parser = argparse.ArgumentParser(prog="growth", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--tenants", type=int, default=100_000, help="of the grown one (100000)")
    parser.add_argument("--keys", type=int, default=1_000_000, help="of the grown one (1000000)")
    parser.add_argument("--models", type=int, default=1000, help="of the grown one (1000)")
    parser.add_argument("--rows", type=int, default=10_000_000, help="in the grown one's ledger (10000000)")
    parser.add_argument("--requests", type=int, default=10_000, help="of a round (10000)")
    parser.add_argument("--rounds", type=int, default=5, help="loads of each (5)")
    parser.add_argument("--made", type=int, default=20, help="keys that are made beside requests (20)")
    args = parser.parse_args(argv)
    cores = choose_cores()
    grown = Size(args.tenants, args.keys, args.models, args.rows)
    asked = Size(min(grown.tenants, _SHOTS), min(grown.keys, _SHOTS), grown.models, 0)
    sizes = {"small": Size(10, 100, 10, 0), "asked": asked, "grown": grown}
    with ExitStack() as stack:
        stack.enter_context(settled_on(cores.others))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="growth-")))
        upstream = free_port()
        stack.enter_context(Server(upstream_launch(upstream), folder / "upstream.log", [cores.others]))
        houses = [build(size, folder / name, upstream, cores.gateway, stack) for name, size in sizes.items()]
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(compare(houses, args))
    faults = [fault for house in houses for fault in house.faults]
    print(*faults[:5], sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
