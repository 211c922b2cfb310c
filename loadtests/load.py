"""A load profile played by locust without a window: CSV and HTML, a table, and a line per goal, passed or failed.

    python -m loadtests.load PROFILE [--url URL --keys KEY,KEY --models chat=NAME,stream=NAME] [--users X] [--time X]

Without `--url` a gateway is started with the fake upstream behind it, so that every profile can be tried anywhere. Exit
code 1 when a goal is missed. `docs/load-testing.md` tells the profiles and how to use several load machines.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loadtests import goals
from loadtests.bench import upstream_launch
from loadtests.peers.base import REPOSITORY, Site
from loadtests.peers.sluicegate import KEY, Served, config, serve
from loadtests.profiles import PROFILES, Goal
from loadtests.server import Server, free_port

LOCUST = REPOSITORY / ".load" / "bin" / "locust"
PLAYER = REPOSITORY / "loadtests" / "locust" / "profiled.py"
GRACE_S = 60
"""How much longer than its profile locust may take."""
UPSTREAM_MODELS = {"chat": "answer-64+slow-20ms", "stream": "answer-64+pace-20ms", "embeddings": "echo"}


def own_config(port: int, ops: int, upstream: int, models: Mapping[str, str]) -> dict[str, Any]:
    """The gateway that is started where none is named: a model per kind, a tenth of `chat` to a candidate."""
    document = config(port, ops, [Served(kind, upstream, model) for kind, model in models.items()])
    candidate = Served("chat-v2", upstream, models["chat"]).deployment()
    document["deployments"].append(candidate)
    document["models"][0] |= {"candidate": candidate["name"], "weight": 10}
    return document


@contextmanager
def own_gateway(models: Mapping[str, str] = UPSTREAM_MODELS) -> Iterator[str]:
    """Fake upstream and gateway, started and stopped; the gateway's address. `models` are the upstream's, by kind."""
    with tempfile.TemporaryDirectory(prefix="load-") as name:
        folder, upstream, port = Path(name), free_port(), free_port()
        launch = serve(Site(port, upstream, folder), own_config(port, free_port(), upstream, models))
        with Server(upstream_launch(upstream), folder / "upstream.log"), Server(launch, folder / "gateway.log"):
            yield f"http://127.0.0.1:{port}"


def command(url: str, out: Path, extra: list[str]) -> list[str]:
    """How locust is started."""
    argv = [str(LOCUST), "-f", str(PLAYER), "--headless", "--only-summary", "-H", url, "--csv", str(out / "load")]
    return [*argv, "--html", str(out / "load.html"), "--stop-timeout", "30", *extra]


def play(args: argparse.Namespace, url: str) -> list[goals.Row]:
    """Run it; the rows of its statistics. Raises SystemExit where locust itself fails."""
    args.out.mkdir(parents=True, exist_ok=True)
    env = os.environ | {
        "LOAD_PROFILE": args.profile,
        "LOAD_SCALE": f"{args.users},{args.time}",
        "LOAD_KEYS": args.keys,
        "LOAD_MODELS": args.models,
        "LOAD_LONG_WORDS": str(args.long_words),
        "PYTHONPATH": str(REPOSITORY),
    }
    result = args.out / "load.json"
    result.unlink(missing_ok=True)
    env["LOAD_RESULT"] = str(result)
    limit = PROFILES[args.profile].scaled(args.users, args.time).seconds + GRACE_S
    ended = subprocess.run(command(url, args.out, args.locust), cwd=args.out, env=env, check=False, timeout=limit)
    # 1 is locust's word for "some requests failed": whether that is too many is for the goals to say.
    if ended.returncode not in {0, 1} or not result.exists():
        sys.exit(f"locust ended with {ended.returncode}")
    return goals.read(result)


def _goal(text: str) -> Goal:
    row, figure, most = text.split(":")
    if figure not in {"share", "p50", "p95", "p99"}:
        raise ValueError(text)
    return Goal(row, figure, float(most))


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="load", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("profile", choices=sorted(PROFILES))
    parser.add_argument("--url", help="a gateway that runs; without it one is started, with the fake upstream")
    parser.add_argument("--keys", default=KEY, help="comma-separated; callers take them in turn")
    parser.add_argument(
        "--models", default="", help="which model serves chat, stream, embeddings: chat=NAME,stream=NAME"
    )
    parser.add_argument("--users", type=float, default=1.0, help="times the profile's callers (1)")
    parser.add_argument("--time", type=float, default=1.0, help="times the profile's duration (1)")
    parser.add_argument("--long-words", type=int, default=100_000, help="words of a long prompt (100000)")
    parser.add_argument(
        "--goal", type=_goal, action="append", metavar="ROW:FIGURE:MOST", help="instead of the profile's"
    )
    parser.add_argument("--out", type=Path, default=Path("load-report"), help="folder of CSV and HTML (load-report)")
    parser.add_argument(
        "--locust", action="append", default=[], help="handed to locust, such as --locust=--processes=4"
    )
    parsed = parser.parse_args(argv)
    parsed.out = parsed.out.resolve()
    return parsed


def main(argv: list[str] | None = None) -> int:
    """Play, judge, print."""
    args = arguments(argv)
    if not LOCUST.exists():
        sys.exit(f"{LOCUST} is missing: scripts/load/setup.sh")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ended as by ^C: what was started is stopped
    if args.url:
        rows = play(args, args.url)
    else:
        with own_gateway() as url:
            rows = play(args, url)
    verdicts = goals.judge(rows, args.goal or PROFILES[args.profile].goals)
    print(f"\n{args.profile}: {PROFILES[args.profile].about}")
    print(goals.summary(rows, verdicts))
    print(f"CSV and HTML: {args.out}")
    return 0 if all(kept for *_, kept in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
