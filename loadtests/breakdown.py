"""Where the gateway's microseconds go: py-spy samples of a worker under load, scaled to its CPU per request.

    python -m loadtests.breakdown [--stream] [--seconds S] [--top N] [--raw FILE]

CPU per request (per stream with `--stream`) is measured first, without the profiler. Then samples are taken, and each
stands for its share of the main thread's part of that figure. Two tables: by the innermost function of ours, with
everything that it calls outside of `app/` included; and by innermost frame, whosever it is. What C code takes (the
event loop, system calls) counts for the Python function that called it; only the thread that holds the interpreter's
lock is looked at. Needs py-spy: `.uv/bin/uv pip install --python .venv py-spy`.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from loadtests import cpu
from loadtests.bench import Field, choose_cores
from loadtests.round import Ask, Subject, drive
from loadtests.server import settled_on
from loadtests.workload import STREAM_MODEL, TOKENS, WHOLE_MODEL, StreamCheck, chat, check_whole

_FRAME = re.compile(r"^(?P<name>.+?) \((?P<file>[^()]*?)(?::\d+)?\)$")
_SITE = re.compile(r".*/(?:site-packages|lib/python3\.\d+)/")
CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Samples:
    """Counts of stacks, outermost frame first, as `py-spy record --format raw` writes them."""

    stacks: Counter[tuple[str, ...]]

    @classmethod
    def read(cls, lines: Iterable[str]) -> Samples:
        """From py-spy's output."""
        stacks: Counter[tuple[str, ...]] = Counter()
        for line in lines:
            stack, _, count = line.rstrip("\n").rpartition(" ")
            if stack:
                stacks[tuple(stack.split(";"))] += int(count)
        return cls(stacks)

    def total(self) -> int:
        """All samples."""
        return sum(self.stacks.values())

    def by_ours(self) -> Counter[str]:
        """By the innermost frame under `app/`; where there is none, by the innermost frame in parentheses."""
        found: Counter[str] = Counter()
        for stack, count in self.stacks.items():
            ours = next((place for frame in reversed(stack) if (place := _place(frame)).startswith("app/")), None)
            found[ours or f"({_place(stack[-1])})"] += count
        return found

    def by_leaf(self) -> Counter[str]:
        """By innermost frame."""
        found: Counter[str] = Counter()
        for stack, count in self.stacks.items():
            found[_place(stack[-1])] += count
        return found


def _place(frame: str) -> str:
    """`file function` of a frame: files relative to the checkout or to where packages are installed."""
    match = _FRAME.match(frame)
    if match is None:
        return frame
    file = match["file"]
    file = "app/" + file.split("/app/", 1)[1] if "/app/" in file else _SITE.sub("", file)
    return f"{file} {match['name']}"


def table(title: str, counts: Counter[str], total: int, microseconds: float, top: int) -> str:
    """The largest rows, in microseconds."""
    rows = [
        f"{microseconds * count / total:8.1f} µs {count / total:6.1%}  {name}"
        for name, count in counts.most_common(top)
    ]
    return "\n".join([title, *rows])


def spy(pid: int, seconds: int, output: Path, *, native: bool) -> subprocess.Popen[bytes]:
    """Start py-spy on a process. Unwinding native frames stops the process for long: the load suffers."""
    program = Path(sys.executable).with_name("py-spy")
    if not program.exists():
        sys.exit(f"{program} is missing: .uv/bin/uv pip install --python .venv py-spy")
    argv = [str(program), "record", "--gil", "--format", "raw", "--rate", "250", "--duration", str(seconds)]
    return subprocess.Popen(
        [*argv, *(["--native"] if native else []), "--pid", str(pid), "--output", str(output)],
        stdout=subprocess.DEVNULL,
    )


async def look(subject: Subject, ask: Ask, output: Path, args: argparse.Namespace) -> tuple[float, float]:
    """CPU seconds per request, of all and of the main thread; then a load whose samples go to `output`."""
    if subject.server is None:
        raise ValueError("nothing to look at: no gateway was started")
    pid = subject.server.pid
    await drive(subject, ask, 500, CONNECTIONS, 5)
    main = cpu.thread_seconds(pid, pid)
    phase = await drive(subject, ask, 1_000_000, CONNECTIONS, 5)
    main = cpu.thread_seconds(pid, pid) - main
    profiler = spy(pid, args.seconds, output, native=args.native)
    # A stream's load may end late, the profiler's start-up takes a while: the load outlives the samples.
    await drive(subject, ask, 10_000_000, CONNECTIONS, args.seconds + 2)
    await asyncio.to_thread(profiler.wait)
    return phase.cpu / phase.ran.sent, main / phase.ran.sent


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="breakdown", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--stream", action="store_true", help=f"streams of {TOKENS} chunks instead of whole answers")
    parser.add_argument("--seconds", type=int, default=15, help="how long samples are taken (15)")
    parser.add_argument("--native", action="store_true", help="frames of C too (slow: the load suffers)")
    parser.add_argument("--top", type=int, default=40, help="rows per table (40)")
    parser.add_argument("--raw", type=Path, metavar="FILE", help="keep py-spy's stacks (for flame graphs)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Start upstream and gateway, load, sample, print."""
    args = arguments(argv)
    model, check = (STREAM_MODEL, StreamCheck(TOKENS)) if args.stream else (WHOLE_MODEL, check_whole)
    cores = choose_cores()
    with (
        settled_on(cores.others),
        tempfile.TemporaryDirectory(prefix="breakdown-") as folder,
        Field(["sluicegate"], cores, Path(folder)) as field,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        if field.absent:
            sys.exit(f"sluicegate {field.absent['sluicegate']}")
        subject = field.subjects["sluicegate"]
        ask = Ask(subject.door.shot(chat(model, stream=args.stream)), check)
        output = args.raw or Path(folder) / "stacks"
        whole, microseconds = (seconds * 1e6 for seconds in runner.run(look(subject, ask, output, args)))
        samples = Samples.read(output.read_text().splitlines())
    unit = "stream" if args.stream else "request"
    print(f"{whole:.0f} µs CPU per {unit}, {microseconds:.0f} of it in the main thread; {samples.total()} samples\n")
    print(
        table(
            "by our function, what it calls outside included",
            samples.by_ours(),
            samples.total(),
            microseconds,
            args.top,
        )
    )
    print()
    print(table("by innermost frame", samples.by_leaf(), samples.total(), microseconds, args.top))
    return 0


if __name__ == "__main__":
    sys.exit(main())
