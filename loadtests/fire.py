"""The load generator by hand: a closed loop, or a fixed rate, at any server that speaks OpenAI's chat API.

python -m loadtests.fire http://127.0.0.1:8080/v1 --model chat --key env:KEY --connections 32 --seconds 10
python -m loadtests.fire … --rate 500 --stream
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from itertools import repeat
from urllib.parse import urlsplit

import uvloop

from loadtests.client import Kept, Load, Paced, Ran, Target
from loadtests.line import Answer
from loadtests.stats import quantile
from loadtests.workload import Door, chat


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="fire", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("url", help="up to and with /v1; http only")
    parser.add_argument("--model", required=True)
    parser.add_argument("--key", default="", help="the bearer token, or env:NAME")
    parser.add_argument("--connections", type=int, default=32, help="open at a time (32)")
    parser.add_argument("--seconds", type=float, default=10, help="how long (10)")
    parser.add_argument("--rate", type=float, help="requests a second, whatever the answers do; else a closed loop")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--max-tokens", type=int, default=64, help="asked for (64)")
    return parser.parse_args(argv)


def door(url: str, key: str) -> Door:
    """Where to knock; a key that begins with `env:` is read from the environment."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        sys.exit(f"{url}: this generator speaks plain http only")
    if key.startswith("env:"):
        key = os.environ[key.removeprefix("env:")]
    headers = (("authorization", f"Bearer {key}"),) if key else ()
    return Door(parts.hostname, parts.port or 80, headers, f"{parts.path.rstrip('/')}/chat/completions")


async def fire(args: argparse.Namespace) -> tuple[Ran, list[Answer]]:
    """Fire, and keep the answers."""
    target_door = door(args.url, args.key)
    target = Target(target_door.host, target_door.port)
    shots = repeat(target_door.shot(chat(args.model, stream=args.stream, max_tokens=args.max_tokens)))
    kept = Kept()
    if args.rate:
        ran = await Paced(target, shots, kept, seconds=args.seconds, rate=args.rate).run(args.connections)
    else:
        ran = await Load(target, shots, kept, seconds=args.seconds).run(args.connections)
    return ran, kept.answers


def summary(ran: Ran, answers: list[Answer]) -> str:
    """What came back, for people."""
    ends = Counter(answer.fault or f"HTTP {answer.status}" for answer in answers)
    seconds = [answer.seconds for answer in answers if answer.fault is None]
    firsts = [answer.arrivals[0] for answer in answers if answer.arrivals]
    events = sum(answer.events for answer in answers)
    rate, own = ran.sent / ran.seconds, ran.cpu / max(ran.sent, 1) * 1e6
    lines = [
        f"{ran.sent} requests in {ran.seconds:.2f} s: {rate:.0f}/s; generator {own:.0f} µs CPU each",
        "ends: " + ", ".join(f"{end} {count}" for end, count in ends.most_common()),
        _times("whole answer", seconds),
    ]
    if firsts:
        lines += [_times("first event", firsts), f"{events} events"]
    return "\n".join(lines)


def _times(what: str, seconds: list[float]) -> str:
    p50, p90, p99 = (quantile(seconds, share) * 1e3 for share in (0.5, 0.9, 0.99))
    return (
        f"{what}: p50 {p50:.2f} ms, p90 {p90:.2f} ms, p99 {p99:.2f} ms, longest {max(seconds, default=0) * 1e3:.2f} ms"
    )


def main(argv: list[str] | None = None) -> int:
    """Fire and tell; 1 when an answer was not whole."""
    args = arguments(argv)
    ran, answers = uvloop.run(fire(args))
    print(summary(ran, answers))
    return 1 if any(answer.fault or answer.status != 200 for answer in answers) else 0


if __name__ == "__main__":
    sys.exit(main())
