"""Several workers beside one, and one hot tenant beside many: CPU per request, and what follows for whole cores.

    python -m loadtests.scale [--workers N] [--rounds 5] [--seconds 5] [--connections 32] [--only bare,all,tenants]

Every round loads one worker and N workers in turn, in a closed loop of as many connections for each worker; first with
keys, usage and metrics, then with everything on. Then N workers serve one tenant's requests and many tenants', in turn,
all held to budgets and limits in Redis; and callers use budgets up. Exit code 1 where one was exceeded, or refused
somebody whom it still covered, or where an answer was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from pathlib import Path
from time import monotonic
from typing import Any

import orjson
import uvloop

from app.compiled import state
from app.tasks import come_as_usual, come_soon
from loadtests import cpu
from loadtests.bench import upstream_launch
from loadtests.client import Kept, Load, Target
from loadtests.line import Answer, Shot
from loadtests.peers import features
from loadtests.peers.base import Site
from loadtests.peers.features import PLENTY, UNREACHED, Feature
from loadtests.peers.sluicegate import KEY, Served, config, serve
from loadtests.round import Subject, WrongAnswerError, settled
from loadtests.scaling import REDIS, ROWS, Sample, Spent, Used, table, verdict
from loadtests.server import Launch, Server, free_port, stoppable
from loadtests.stats import quantile
from loadtests.workload import WHOLE_MODEL, Door, chat, check_whole
from tests.support.redis import Redis

_PARTS = "bare,all,tenants"
_HOT = "hot"
_PATIENCE = 5
"""Refusals for each connection after which callers give up on a budget."""
_DRAINED_S = 15.0
"""Seconds in which a budget must be used up: another worker's slice is used for nine."""
_TICK_S = 0.3


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that runs: `workers` of them, operators' port, its Redis where it has one, and the upstream it asks."""

    server: Server
    upstream: Server
    workers: int
    port: int
    ops: int
    redis: Redis | None

    @property
    def subject(self) -> Subject:
        """As `round` knows it."""
        return Subject(Door("127.0.0.1", self.port), self.server)

    def shot(self, tenant: str) -> Shot:
        """A whole answer for the key of a tenant."""
        door = Door("127.0.0.1", self.port, (("authorization", f"Bearer {secret(tenant)}"),))
        return door.shot(chat(WHOLE_MODEL, stream=False), kind=tenant)

    def used(self) -> Used:
        """What everybody has used so far; what this process started and is neither of the others is a service."""
        own, gateway, upstream = os.getpid(), self.server.pids(), self.upstream.pids()
        services = set(cpu.tree(own)) - {own} - set(gateway) - set(upstream)
        serving = gateway[1:] if self.workers > 1 else gateway
        return Used(
            gateway=_seconds(gateway),
            workers=tuple(_seconds([pid]) for pid in serving[: self.workers]),
            load=_seconds([own, *upstream]),
            services=_seconds(services),
            redis=0.0 if self.redis is None else _seconds([self.redis.pid]),
            machine=cpu.machine().busy,
            calls=0 if self.redis is None else script_calls(self.redis),
        )

    def level(self, tenant: str) -> dict[str, Any]:
        """How full the budget of a tenant is, as an operator sees it."""
        headers = {"authorization": f"Bearer {secret('admin')}"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.ops}/admin/v1/budgets", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            levels: list[dict[str, Any]] = json.loads(answer.read())["data"]
        return next(one for one in levels if one["scope"] == f"tenant:{tenant}")


def _seconds(pids: Iterable[int]) -> float:
    """CPU seconds of processes of which some may end meanwhile; their parents have those then."""
    total = 0.0
    for pid in pids:
        with suppress(OSError):
            total += cpu.cpu_seconds([pid])
    return total


def script_calls(redis: Redis) -> int:
    """How often the gateway's script has run."""
    for line in redis.command("INFO", "commandstats").decode().splitlines():
        if line.startswith("cmdstat_evalsha:"):
            return int(line.partition("calls=")[2].partition(",")[0])
    return 0


def secret(tenant: str) -> str:
    """The key of a tenant."""
    return KEY if tenant == "load" else f"{KEY}-{tenant}"


def held(name: str, budgets: list[dict[str, Any]]) -> dict[str, Any]:
    """A tenant with budgets and limits, and a key with a budget of its own; its secret stands in the environment."""
    keys = [{"name": "key", "secret": f"env:{variable(name)}", "budgets": PLENTY}]
    return {"name": name, "keys": keys, "budgets": budgets, "limits": UNREACHED}


def variable(name: str) -> str:
    """Where a secret stands."""
    return f"SCALE_KEY_{name.upper().replace('-', '_')}"


def tenants(document: dict[str, Any], limits: str, many: Sequence[str], spent: dict[str, int]) -> None:
    """One hot tenant and many others, alike, and some whose budget of so many tokens can be used up."""
    document.setdefault("stores", {})["limits"] = limits
    few = {name: [{"window": "total", "tokens": tokens}] for name, tokens in spent.items()}
    budgets = dict.fromkeys([_HOT, *many], PLENTY) | few
    document["tenants"] = [held(name, several) for name, several in budgets.items()]


class Stage:
    """The upstream and the gateways of one comparison; all of them end with the stack."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scale-")))
        self._port = free_port()
        come_soon()
        self._upstream = stack.enter_context(Server(upstream_launch(self._port), self._folder / "upstream.log"))

    def gateway(self, workers: int, *several: Feature, redis: Redis | None = None) -> Running:
        """Start one on all cores; databases and what else it needs come as usual, generator and upstream soon."""
        come_as_usual()
        place = Path(tempfile.mkdtemp(dir=self._folder))
        port, ops = free_port(), free_port()
        site = Site(port, self._port, place, self._stack)
        document = config(port, ops, [Served(WHOLE_MODEL, self._port, WHOLE_MODEL)])
        document["server"]["workers"] = workers
        document["admin"] = {"keys": [{"name": "ops", "secret": f"env:{variable('admin')}", "role": "viewer"}]}
        for feature in several:
            feature(document, site)
        launch = with_keys(serve(site, document), [one["name"] for one in document["tenants"]])
        server = self._stack.enter_context(Server(launch, place / "gateway.log"))
        come_soon()
        return Running(server, self._upstream, workers, port, ops, redis)

    def everything(self, workers: int) -> Running:
        """With all that `sluicegate-all` of the comparison has."""
        return self._limited(workers, features.held_to)

    def held(self, workers: int, many: Sequence[str], spent: dict[str, int]) -> Running:
        """The same with many tenants, and no budget that they share."""
        return self._limited(workers, partial(tenants, many=many, spent=spent))

    def _limited(self, workers: int, hold: Callable[[dict[str, Any], str], None]) -> Running:
        redis = self._stack.enter_context(Redis())

        def limits(document: dict[str, Any], _site: Site) -> None:
            hold(document, redis.url)

        several = [limits if one is features.budgets else one for one in features.ALL]
        return self.gateway(workers, *several, redis=redis)


def with_keys(launch: Launch, names: Iterable[str]) -> Launch:
    """The launch with the secrets of tenants and of the operator in its environment."""
    return replace(launch, env={**launch.env, **{variable(name): secret(name) for name in (*names, "admin")}})


async def load(running: Running, shots: Sequence[Shot], connections: int, seconds: float) -> Sample:
    """A closed loop of so many connections for each worker; raises `WrongAnswerError` unless every answer is right."""
    kept = Kept()
    fire = Load(Target("127.0.0.1", running.port), cycle(shots), kept, seconds=seconds)
    gc.collect()
    gc.disable()  # a collection in the generator would be a latency of the gateway's
    try:
        before = running.used()
        ran = await fire.run(connections * running.workers)
        used = running.used().minus(before)
        whole = await settled(running.subject) - before.gateway
    finally:
        gc.enable()
    if faults := kept.faults(check_whole):
        raise WrongAnswerError(f"{len(faults)} of {ran.sent} answers are wrong; the first: {faults[0]}")
    p99 = quantile([answer.seconds for answer in kept.answers], 0.99)
    return Sample(ran.sent, ran.seconds, os.cpu_count() or 1, used, whole, p99)


async def rounds(
    columns: Mapping[str, tuple[Running, Sequence[Shot]]], args: argparse.Namespace
) -> dict[str, list[Sample]]:
    """Each column's samples: all of them once a round, in an order that turns around."""
    found: dict[str, list[Sample]] = {name: [] for name in columns}
    for running, shots in columns.values():
        await load(running, shots, args.connections, args.seconds / 4)  # pools, caches and slices
    for number in range(args.rounds):
        for name in list(columns)[:: -1 if number % 2 else 1]:
            running, shots = columns[name]
            found[name].append(await load(running, shots, args.connections, args.seconds))
    return found


class Refusals:
    """A sink of answers for one tenant, and the source that asks until it was refused often enough."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self.answered = self.refused = self.unfounded = self.asked = self.first = 0
        self.wrong: list[str] = []

    def shots(self, shot: Shot) -> Iterator[Shot]:
        """The same again and again."""
        while self.refused < self._patience:
            yield shot

    def __call__(self, answer: Answer) -> None:
        """Take one."""
        if answer.status == 429 and (found := told(answer.body)) is not None:
            self.asked, left = found
            self.first = self.first if self.refused else self.answered
            self.refused += 1
            self.unfounded += self.asked <= left
        elif (fault := check_whole(answer)) is not None:
            self.wrong.append(fault)
        else:
            usage = orjson.loads(answer.body)["usage"]
            self.answered += usage["prompt_tokens"] + usage["completion_tokens"]


def told(body: bytes) -> tuple[int, int] | None:
    """What a refusal says: the bound of the request, and what was left; None where it says neither."""
    words = body.decode().partition("may take ")[2].split()
    return (int(words[0]), int(words[2])) if len(words) > 2 and words[2].isdigit() else None


async def spend(running: Running, tenant: str, limit: int, connections: int) -> Spent:
    """All callers until they are refused; then one, until what is left does not cover him though nobody holds any."""
    sink = Refusals(_PATIENCE * connections * running.workers)
    target, shot = Target("127.0.0.1", running.port), running.shot(tenant)
    await Load(target, sink.shots(shot), sink, seconds=60.0).run(connections * running.workers)
    last, until = Refusals(1), monotonic() + _DRAINED_S
    while True:
        last.refused = 0
        await Load(target, last.shots(shot), last, seconds=10.0).run(1)
        await asyncio.sleep(_TICK_S)
        level = await asyncio.to_thread(running.level, tenant)
        if monotonic() > until or (level["reserved"] == 0 and limit - level["used"] < sink.asked):
            break
    if sink.wrong or last.wrong:
        raise WrongAnswerError(f"neither answered nor refused: {(sink.wrong + last.wrong)[0]}")
    unfounded = sink.unfounded + last.unfounded
    return Spent(limit, sink.asked, level["used"], sink.answered + last.answered, sink.first, sink.refused, unfounded)


async def workers(name: str, start: Callable[[int], Running], args: argparse.Namespace) -> None:
    """One worker beside several, and what follows."""
    one, many = start(1), start(args.workers)
    columns = {f"{name}, 1 worker": (one, [one.shot("load")]), f"{args.workers} workers": (many, [many.shot("load")])}
    found = await rounds(columns, args)
    rows = ROWS if many.redis is None else (*ROWS, *REDIS)
    print(table(found, rows), "\n\n", verdict(name, args.workers, *found.values()), "\n", sep="", flush=True)


async def hot(stage: Stage, args: argparse.Namespace) -> list[str]:
    """One tenant beside many, then budgets that are used up; what is not as it is promised."""
    many = [f"tenant-{number}" for number in range(args.tenants)]
    spent = {f"spent-{number}": args.budget for number in range(args.rounds)}
    running = stage.held(args.workers, many, spent)
    shots = {"one hot tenant": [running.shot(_HOT)], f"{args.tenants} tenants": [running.shot(one) for one in many]}
    found = await rounds({name: (running, several) for name, several in shots.items()}, args)
    print(table(found, (*ROWS, *REDIS)), "\n", flush=True)
    outcomes = [await spend(running, tenant, limit, args.connections) for tenant, limit in spent.items()]
    print(*(outcome.text() for outcome in outcomes), "", sep="\n", flush=True)
    return [fault for outcome in outcomes for fault in outcome.faults()]


async def run(args: argparse.Namespace) -> list[str]:
    """The comparisons that are wanted, each with gateways of its own."""
    faults: list[str] = []
    for name in args.only.split(","):
        with ExitStack() as stack:
            stage = Stage(stack)
            if name == "bare":
                await workers("bare", partial(_bare, stage), args)
            elif name == "all":
                await workers("everything on", stage.everything, args)
            elif name == "tenants":
                faults += await hot(stage, args)
            else:
                sys.exit(f"{name}: there are {_PARTS}")
    return faults


def _bare(stage: Stage, count: int) -> Running:
    """Keys, usage and metrics. Several workers need a database that they can share, though they write no ledger."""
    return stage.gateway(count, features.postgres, features.no_ledger, features.quiet)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scale", description=(__doc__ or "").split("\n", 1)[0])
    cores = os.cpu_count() or 1
    parser.add_argument("--workers", type=int, default=max(2, cores), help=f"beside one (as many as cores: {cores})")
    parser.add_argument("--only", default=_PARTS, help=f"some of {_PARTS}")
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds, and budgets to use up (5)")
    parser.add_argument("--seconds", type=float, default=5, help="each load (5)")
    parser.add_argument("--connections", type=int, default=32, help="callers for each worker (32)")
    parser.add_argument("--tenants", type=int, default=64, help="beside the hot one (64)")
    parser.add_argument("--budget", type=int, default=2_000_000, help="tokens of a budget that is used up (2000000)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Print what was found; 1 where a budget did not hold, or refused what it covered."""
    args = arguments(argv)
    print({**cpu.describe(), "compiled": state(), "workers": args.workers}, "\n")
    with stoppable(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            faults = runner.run(run(args))
        except WrongAnswerError as error:
            faults = [str(error)]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
