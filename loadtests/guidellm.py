"""Streams through one gateway, played by locust and by guidellm in turns: do both see the same times?

    python -m loadtests.guidellm [--streams N] [--seconds N] [--rounds N] [--out FOLDER]

The profile is `steady`, the upstream the fake one, whose first token comes after 200 ms and the next ones 20 ms apart.
Prints what each reports, and the ratios; exit code 1 where the medians of the time to first token are more than 5 %
apart. `docs/load-testing.md` says what each of them measures.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from loadtests import load
from loadtests.goals import Row
from loadtests.peers.base import REPOSITORY
from loadtests.peers.sluicegate import KEY
from loadtests.profiles import ALL_ROWS, BETWEEN, FIRST, PROFILES
from loadtests.workload import PROMPT, TOKENS

GUIDELLM = REPOSITORY / ".guidellm" / "bin" / "guidellm"
PROFILE = "steady"
MODEL = f"answer-{TOKENS}+ttft-200ms+pace-20ms"
APART = 0.05
"""How far the medians of the time to first token may be apart."""
GRACE_S = 120
"""How much longer than its benchmark guidellm may take: it imports PyTorch in every worker."""
FIGURES = ("p50", "p95", "p99")
METRICS = {FIRST: "time_to_first_token_ms", BETWEEN: "inter_token_latency_ms"}

Round = tuple[dict[str, Row], dict[str, Row]]
"""The rows of locust and of guidellm, by name."""


def command(url: str, streams: int, seconds: float, prompts: Path, report: Path) -> list[str]:
    """How guidellm is started: the key, the gateway's own liveness page, the prompts and the cap of the profile."""
    backend = {
        "kind": "openai_http",
        "target": url,
        "model": "stream",
        "api_key": KEY,
        "max_tokens": TOKENS,
        "api_routes": {"/health": "livez"},
    }
    argv = [str(GUIDELLM), "run", "--disable-console-interactive", "--backend", json.dumps(backend)]
    argv += ["--profile", f"kind=concurrent,streams={streams}"]
    argv += ["--constraint", f"kind=max_duration,seconds={seconds:g}"]
    argv += ["--data", json.dumps({"kind": "json_file", "path": str(prompts)})]
    return [*argv, "--output", json.dumps({"kind": "json", "path": str(report)})]


def rows_of(document: dict[str, Any]) -> dict[str, Row]:
    """What guidellm's report says of the streams that came to their end. Raises SystemExit where one failed."""
    [benchmark] = document["benchmarks"]
    totals = benchmark["metrics"]["request_totals"]
    if totals["errored"] or not totals["successful"]:
        sys.exit(f"guidellm: {totals['errored']} streams failed, {totals['successful']} came to their end")
    rate = totals["successful"] / benchmark["duration"]
    found = {}
    for name, metric in METRICS.items():
        percentiles = benchmark["metrics"][metric]["successful"]["percentiles"]
        found[name] = Row(name, totals["successful"], 0, rate, *(percentiles[figure] for figure in FIGURES))
    return found


def by_guidellm(args: argparse.Namespace, url: str) -> dict[str, Row]:
    """One turn of guidellm, which writes nothing outside a temporary folder, and needs nothing from the network."""
    with tempfile.TemporaryDirectory(prefix="guidellm-") as name:
        folder = Path(name)
        prompts, report = folder / "prompts.jsonl", folder / "report.json"
        line = json.dumps({"prompt": PROMPT}) + "\n"
        prompts.write_text(line * max(1, round(args.streams * args.seconds)))  # no stream is over within a second
        env = {"PATH": os.environ["PATH"], "HOME": name, "LANG": "C.UTF-8", "HF_HUB_OFFLINE": "1"}
        ended = subprocess.run(
            command(url, args.streams, args.seconds, prompts, report),
            cwd=folder,
            env=env,
            check=False,
            timeout=args.seconds + GRACE_S,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if ended.returncode or not report.exists():
            sys.exit(f"guidellm ended with {ended.returncode}: {ended.stdout[-2000:]}")
        (args.out / "guidellm.json").write_bytes(report.read_bytes())
        return rows_of(json.loads(report.read_text()))


def by_locust(args: argparse.Namespace, url: str) -> dict[str, Row]:
    """One turn of `make load PROFILE=steady`. Raises SystemExit where a stream failed."""
    profile = PROFILES[PROFILE]
    users, time = args.streams / profile.stages[0].users, args.seconds / profile.seconds
    argv = [PROFILE, "--users", str(users), "--time", str(time), "--out", str(args.out)]
    rows = {row.name: row for row in load.play(load.arguments(argv), url)}
    if rows[ALL_ROWS].failed or not {FIRST, BETWEEN} <= set(rows):
        sys.exit(f"locust: {rows[ALL_ROWS].failed} of {rows[ALL_ROWS].count} streams failed")
    return rows


def ratio(rounds: list[Round]) -> float:
    """guidellm's median time to first token over locust's: the median over rounds, whose turns had the same machine."""
    return statistics.median(theirs[FIRST].p50 / ours[FIRST].p50 for ours, theirs in rounds)


def table(rounds: list[Round]) -> str:
    """A line per round and time; milliseconds, and guidellm's over locust's."""
    columns = f"{'locust':>10}{'guidellm':>10}{'ratio':>8}"
    lines = ["".join([f"{'ms':<18}", *(f"{figure:>20}{'':8}" for figure in FIGURES)]), f"{'':<18}{columns * 3}"]
    for number, (ours, theirs) in enumerate(rounds, start=1):
        for name in METRICS:
            cells = [f"round {number}  {name:<9}"]
            for figure in FIGURES:
                one, other = ours[name].figure(figure), theirs[name].figure(figure)
                cells.append(f"{one:>10.1f}{other:>10.1f}{other / one:>8.3f}")
            lines.append("".join(cells))
    return "\n".join(lines)


def verdict(rounds: list[Round]) -> tuple[str, bool]:
    """A line for the end, and whether the two agree."""
    found = ratio(rounds)
    kept = abs(found - 1) <= APART
    word = "PASS" if kept else "FAIL"
    return f"{word}  {FIRST} p50 at most {APART * 100:g} % apart: guidellm / locust = {found:.3f}", kept


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="guidellm", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--streams", type=int, default=16, help="streams at a time (16)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each plays in a round (30)")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each (2)")
    parser.add_argument("--out", type=Path, default=Path("load-report/guidellm"), help="folder of what both report")
    parsed = parser.parse_args(argv)
    if min(parsed.streams, parsed.seconds, parsed.rounds) < 1:
        parser.error("--streams, --seconds and --rounds are at least 1")
    parsed.out = parsed.out.resolve()
    return parsed


def main(argv: list[str] | None = None) -> int:
    """Play, compare, print."""
    args = arguments(argv)
    for program, setup in ((load.LOCUST, "setup.sh"), (GUIDELLM, "setup_guidellm.sh")):
        if not program.exists():
            sys.exit(f"{program} is missing: scripts/load/{setup}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ended as by ^C: what was started is stopped
    args.out.mkdir(parents=True, exist_ok=True)
    rounds: list[Round] = []
    with load.own_gateway(load.UPSTREAM_MODELS | {"stream": MODEL}) as url:
        for number in range(args.rounds):
            if number % 2:  # the order turns around, so that what drifts drifts for both
                theirs = by_guidellm(args, url)
                rounds.append((by_locust(args, url), theirs))
            else:
                ours = by_locust(args, url)
                rounds.append((ours, by_guidellm(args, url)))
    line, kept = verdict(rounds)
    print(f"\n{args.streams} streams at a time, {args.seconds:g} s in turns, upstream {MODEL}\n{table(rounds)}\n{line}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
