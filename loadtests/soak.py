"""A million mixed requests through one worker, and what is left afterwards: memory, sockets, tasks, uncounted requests.

    python -m loadtests.soak [--requests N] [--json FILE]

Streams and whole answers, callers who leave while waiting and in mid-stream, upstreams that fail in every way, and
requests that are no good (`mix.py` has the table). Exit code 1 when anything is left over or a count does not agree.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import urllib.request
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import uvloop

from loadtests import cpu, mix, scrape
from loadtests.bench import choose_cores, upstream_launch
from loadtests.client import Load, Ran, Target
from loadtests.line import Answer
from loadtests.peers.base import Site
from loadtests.peers.sluicegate import KEY, config, serve
from loadtests.server import Server, free_port, settled_on
from loadtests.verdict import Sample, Verdict, line
from loadtests.workload import Door

SETTLED = 15.0
"""Seconds after the last answer within which sockets and tasks must be back to where they began."""


@dataclass(slots=True)
class Gateway:
    """The worker under test, as an operator sees it."""

    server: Server
    ops: int
    begun: float = field(default_factory=monotonic)

    def metrics(self) -> str:
        """What `/metrics` says now."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ops}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def sample(self, requests: int) -> Sample:
        """Look once. The kernel is asked before `/metrics`, whose connection would be counted too."""
        pids = self.server.pids()
        memory, held = cpu.memory(pids), cpu.descriptors(pids)
        tasks = scrape.total(self.metrics(), "sluicegate_tasks")
        seconds = round(monotonic() - self.begun, 1)
        return Sample(requests, seconds, memory.rss, memory.pss, held.files, held.sockets, tasks)

    def outcomes(self) -> dict[str, int]:
        """`sluicegate_requests_total` by outcome."""
        return dict(scrape.total_by(self.metrics(), "sluicegate_requests_total", "outcome"))


class Watch:
    """Hands answers to the judge, and asks for a sample every `step` answers."""

    def __init__(self, gateway: Gateway, judge: mix.Judge, step: int) -> None:
        self._gateway, self._judge, self._step = gateway, judge, step
        self._due = step
        self._looking: asyncio.Task[None] | None = None
        self.samples: list[Sample] = []

    def __call__(self, answer: Answer) -> None:
        """Take an answer."""
        self._judge(answer)
        if self._judge.answered >= self._due and (self._looking is None or self._looking.done()):
            self._due += self._step
            self._looking = asyncio.create_task(self._look(self._judge.answered), name="soak: take a sample")

    async def _look(self, requests: int) -> None:
        sample = await asyncio.to_thread(self._gateway.sample, requests)
        self.samples.append(sample)
        print(line(sample), flush=True)

    async def close(self) -> None:
        """Wait for the sample under way."""
        if self._looking is not None:
            await self._looking


async def fire(gateway: Gateway, door: Door, args: argparse.Namespace, judge: mix.Judge) -> tuple[Ran, list[Sample]]:
    """The load, with samples every fiftieth of it and one at its end, before anything is closed by time."""
    watch = Watch(gateway, judge, max(args.requests // 50, 1))
    source = mix.shots(door, args.requests, args.seed)
    load = Load(Target(door.host, door.port), source, watch, seconds=args.seconds)
    ran = await load.run(args.connections)
    await watch.close()
    last = await asyncio.to_thread(gateway.sample, judge.answered)
    print(line(last), flush=True)
    return ran, [*watch.samples, last]


def settle(gateway: Gateway, before: Sample, requests: int) -> Sample:
    """A sample once sockets and tasks are back to where they began, or the time for that is over."""
    until = monotonic() + SETTLED
    while True:
        sample = gateway.sample(requests)
        if (sample.sockets <= before.sockets and sample.tasks <= before.tasks) or monotonic() > until:
            return sample
        sleep(0.5)  # idle connections are closed by time, and the gateway's own gauges are a second old


def upstream_violations(port: int) -> int:
    """How often the gateway sent what it may not."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_control/violations", timeout=10) as answer:
        found: list[Any] = json.loads(answer.read())
        return len(found)


def requests_for(args: argparse.Namespace, stack: ExitStack) -> Verdict:
    """Start everything, fire, and look at what is left."""
    cores = choose_cores()
    stack.enter_context(settled_on(cores.others))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
    ports = {name: free_port() for name in ("good", "bad", "gateway", "ops")}
    for name in ("good", "bad"):
        stack.enter_context(Server(upstream_launch(ports[name]), folder / f"{name}.log", [cores.others]))
    document = config(ports["gateway"], ports["ops"], mix.served(ports["good"], ports["bad"]))
    launch = serve(Site(ports["gateway"], ports["good"], folder), document)
    server = stack.enter_context(Server(launch, folder / "gateway.log", [cores.gateway]))
    gateway, judge = Gateway(server, ports["ops"]), mix.Judge()
    door = Door("127.0.0.1", ports["gateway"], (("authorization", f"Bearer {KEY}"),))
    before = gateway.sample(0)
    print(line(before), flush=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ran, samples = runner.run(fire(gateway, door, args, judge))
    after = settle(gateway, before, judge.answered)
    print(line(after), "(settled)", flush=True)
    verdict = Verdict(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        machine=cpu.describe(),
        sent=ran.sent,
        seconds=round(ran.seconds, 1),
        before=before,
        samples=samples,
        after=after,
        counted=gateway.outcomes(),
        expected={outcome: count for outcome, count in judge.outcomes.items() if count},
        kinds=judge.kinds,
        violations=sum(upstream_violations(ports[name]) for name in ("good", "bad")),
    )
    verdict.look(judge, args.growth_mib * 2**20)
    return verdict


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="soak", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--requests", type=int, default=1_000_000, help="how many (1000000)")
    parser.add_argument("--connections", type=int, default=64, help="callers at a time (64)")
    parser.add_argument("--seconds", type=float, default=7200, help="stop sending after so long (7200)")
    parser.add_argument("--growth-mib", type=int, default=10, help="growth of RSS that is allowed (10)")
    parser.add_argument("--seed", type=int, default=1, help="of the mix's order (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="everything found, for machines")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Fire, print what was found, write the file; 1 when something is left over or does not agree."""
    args = arguments(argv)
    with ExitStack() as stack:
        verdict = requests_for(args, stack)
    print(verdict.text())
    if args.json:
        args.json.write_text(json.dumps(asdict(verdict), indent=1) + "\n")
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
