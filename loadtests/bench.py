"""What gateways cost, side by side: one script, one run, the same upstream, one core for the gateway.

    python -m loadtests.bench [--quick] [--only direct,vllm-router,sluicegate] [--repeat N] [--json FILE]

Every round measures every gateway once, in an order that turns around from round to round, so that what drifts
(clock, caches, neighbours) drifts for all. `docs/benchmarks.md` says what each figure means.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import uvloop

from app.compiled import state
from app.tasks import come_as_usual, come_soon
from loadtests import cpu
from loadtests.peers import ALL
from loadtests.peers.base import REPOSITORY, Peer, Site
from loadtests.report import table
from loadtests.round import QUICK, Figures, Plan, Subject, WrongAnswerError, measure
from loadtests.server import Launch, NotReadyError, Server, free_port, settled_on
from loadtests.workload import Door


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where: the gateway has a core to itself, upstream and generator share another."""

    gateway: int
    others: int


def choose_cores() -> Cores:
    """The last two cores allowed to this process; raises SystemExit where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        sys.exit("the comparison needs two cores: one for the gateway, one for upstream and generator")
    return Cores(allowed[-1], allowed[-2])


def upstream_launch(port: int) -> Launch:
    """The fake upstream on this port."""
    argv = (sys.executable, "-m", "tests.upstream", "--port", str(port), "--keep", "1000")
    return Launch(argv, f"http://127.0.0.1:{port}/health", {"PYTHONPATH": str(REPOSITORY)})


class Field:
    """The gateways that take part, running; the others with the reason why they do not."""

    def __init__(self, names: list[str], cores: Cores, folder: Path) -> None:
        self._names, self._cores, self._folder = names, cores, folder
        self._stack = ExitStack()
        self.subjects: dict[str, Subject] = {}
        self.absent: dict[str, str] = {}
        self.idle: dict[str, int] = {}

    def __enter__(self) -> Self:
        """Start the upstream, then every gateway that is there.

        Upstream and generator come soon: databases and collectors, which elsewhere have cores of their own, share
        theirs, and would end their slices first. They and the gateways have usual ones.
        """
        port = free_port()
        come_soon()
        self.upstream = self._start("upstream", upstream_launch(port), self._cores.others)
        come_as_usual()
        for name in self._names:
            reason = ALL[name].absent() or self._admit(ALL[name], port)
            if reason is not None:
                self.absent[name] = reason
        come_soon()
        for subject in self.subjects.values():
            subject.pause()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all of them."""
        self._stack.close()

    def _admit(self, peer: Peer, upstream: int) -> str | None:
        setup = peer.setup(Site(free_port(), upstream, self._place(peer.name), self._stack))
        server = None
        if setup.launch is not None:
            try:
                server = self._start(peer.name, setup.launch, self._cores.gateway)
            except (NotReadyError, OSError) as error:
                return f"does not start: {error}"
        subject = Subject(Door("127.0.0.1", setup.port, setup.headers), server)
        self.subjects[peer.name], self.idle[peer.name] = subject, subject.memory()
        return None

    def _start(self, name: str, launch: Launch, core: int) -> Server:
        return self._stack.enter_context(Server(launch, self._place(name) / "log", [core]))

    def _place(self, name: str) -> Path:
        place = self._folder / name
        place.mkdir(exist_ok=True)
        return place


async def rounds(field: Field, plan: Plan, repeat: int) -> dict[str, list[Figures]]:
    """Every gateway `repeat` times, while the others stand still.

    One that answers wrongly or not at all leaves the field, and the reason is kept.
    """
    found: dict[str, list[Figures]] = {name: [] for name in field.subjects}
    for number in range(repeat):
        order = list(field.subjects)
        for name in order if number % 2 == 0 else reversed(order):
            print(f"round {number + 1}/{repeat}: {name}", file=sys.stderr, flush=True)
            subject = field.subjects[name]
            try:
                subject.resume()
                found[name].append(await measure(subject, field.upstream, plan))
            except (WrongAnswerError, NotReadyError) as error:
                field.absent[name] = str(error)
                del field.subjects[name], found[name]
            subject.pause()
    return found


async def recovered(field: Field, plan: Plan) -> dict[str, int]:
    """Bytes that each gateway still holds when all rounds are over and nobody has asked for a while."""
    print(f"memory after {plan.rest:.0f} s without a request", file=sys.stderr, flush=True)
    for subject in field.subjects.values():
        subject.resume()
    await asyncio.sleep(plan.rest)
    return {name: subject.memory() for name, subject in field.subjects.items()}


@dataclass(frozen=True, slots=True)
class Outcome:
    """All rounds of every gateway that stayed in the field, and its memory at rest after them, in bytes."""

    rounds: dict[str, list[Figures]]
    recovered: dict[str, int]


async def compare(field: Field, plan: Plan, repeat: int) -> Outcome:
    """The rounds, then the rest."""
    return Outcome(await rounds(field, plan, repeat), await recovered(field, plan))


def document(field: Field, plan: Plan, outcome: Outcome, stolen: float) -> dict[str, Any]:
    """Everything that was measured, and on what; the table is made from this."""
    found = outcome.rounds
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": cpu.describe()
        | {"python": platform.python_version(), "compiled": state(), "stolen_seconds": round(stolen, 2)},
        "plan": asdict(plan),
        "versions": {name: ALL[name].version() for name in found},
        "notes": {name: ALL[name].note for name in found},
        "absent": field.absent,
        "idle_memory": {name: field.idle[name] for name in found},
        "recovered_memory": outcome.recovered,
        "rounds": {name: [asdict(figures) for figures in many] for name, many in found.items()},
    }


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="a look, not a measurement: small phases, 2 rounds")
    parser.add_argument("--only", default=",".join(ALL), help=f"comma-separated, of: {', '.join(ALL)}")
    parser.add_argument("--repeat", type=int, help="rounds (7; with --quick 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything measured, for machines")
    parsed = parser.parse_args(argv)
    parsed.names = [name for name in ALL if name in parsed.only.split(",")]
    if unknown := set(parsed.only.split(",")) - set(ALL):
        parser.error(f"--only: no such gateway: {', '.join(sorted(unknown))}")
    return parsed


def main(argv: list[str] | None = None) -> int:
    """Measure, print the table, write the file."""
    args = arguments(argv)
    plan = QUICK if args.quick else Plan()
    cores = choose_cores()
    stolen = cpu.machine().stolen
    with (
        settled_on(cores.others),
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        Field(args.names, cores, Path(folder)) as field,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        outcome = runner.run(compare(field, plan, args.repeat or (2 if args.quick else 7)))
    result = document(field, plan, outcome, cpu.machine().stolen - stolen)
    print(table(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
