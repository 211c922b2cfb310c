"""Callers' latency with every request copied to a shadow that hangs, beside the same without a shadow: paired runs.

.venv/bin/python -m scripts.shadow_overload --pairs 5 --seconds 8 --rate 200
"""

from __future__ import annotations

import argparse
import time
from statistics import median

from tests.support.gateway import Gateway, Json, config, deployment
from tests.support.traffic import Traffic
from tests.support.upstream import Upstream

SHADOW = {"to": "hanging", "sample": 1, "max_concurrent": 8, "budget": {"window": "total", "usd": 1000}}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=5, help="how many pairs of runs (5)")
    parser.add_argument("--seconds", type=float, default=8, help="how long each run takes (8)")
    parser.add_argument("--rate", type=float, default=200, help="requests a second (200)")
    return parser.parse_args()


def document(url: str, *, shadow: bool) -> Json:
    """One model, with or without the shadow."""
    deployments = [deployment("main", url, "answer-8+ttft-5ms"), deployment("hanging", url, "hangs")]
    return config(deployments, [{"name": "echo", "stable": "main", **({"shadow": SHADOW} if shadow else {})}])


def run(url: str, *, shadow: bool, seconds: float, rate: float) -> tuple[float, float, int, float, float]:
    """Median and 99th percentile in ms, requests, copies dropped, copies drawn."""
    with Gateway(document(url, shadow=shadow)) as gateway:
        gateway.until(lambda: gateway.ops("/readyz").json()["checks"]["ledger"] == "ok", seconds=60)
        with Traffic(gateway.url, "echo", rate=rate, stream=True, connections=32) as traffic:
            time.sleep(seconds)
        if traffic.failures:
            raise SystemExit(f"callers saw failures: {traffic.failures}")
        took = sorted(traffic.seconds)
        copies = gateway.value("sluicegate_shadow_copies_total")
        running = gateway.value("sluicegate_shadow_in_flight")
        if shadow and copies + running != len(took):
            raise SystemExit(f"{len(took)} requests, but {copies:g} copies dropped and {running:g} under way")
    return took[len(took) // 2] * 1000, took[int(len(took) * 0.99)] * 1000, len(took), copies, copies + running


def main() -> None:
    """Print each pair, then the medians."""
    args = arguments()
    runs: dict[bool, list[tuple[float, float, int, float, float]]] = {False: [], True: []}
    print("run   shadow  requests  p50 ms  p99 ms  dropped  drawn")
    with Upstream() as upstream:
        for number in range(2 * args.pairs):
            shadow = (number // 2 + number) % 2 == 1  # off on, on off, …: neither always comes first
            found = run(upstream.url, shadow=shadow, seconds=args.seconds, rate=args.rate)
            runs[shadow].append(found)
            told = f"{found[2]:>8}  {found[0]:>6.1f}  {found[1]:>6.1f}  {found[3]:>7.0f}  {found[4]:>5.0f}"
            print(f"{number:>3}   {'on ' if shadow else 'off'}     {told}", flush=True)
    for shadow, some in runs.items():
        print(f"shadow {'on ' if shadow else 'off'}: median p99 {median(one[1] for one in some):.1f} ms")
    differences = [on[1] - off[1] for off, on in zip(runs[False], runs[True], strict=True)]
    print(f"p99 on minus off, by pair: {', '.join(f'{one:+.1f}' for one in differences)} ms")


if __name__ == "__main__":
    main()
