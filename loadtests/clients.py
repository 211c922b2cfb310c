"""What the gateway's two upstream clients cost: the thin one on httptools, and httpx2 behind the same interface.

    python loadtests/clients.py [--requests N] [--streams N]

Both run in this process against the fake upstream, on the same loop and machine, in turns; the figures are this
process's CPU time (user and system, from the kernel) per request and per chunk. `docs/decisions/0001-http-client.md`
quotes them.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from itertools import repeat
from pathlib import Path
from statistics import median
from time import process_time

import orjson
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.exchange import Endpoint, Outbound, Timeouts
from app.providers.transport import HttpTransport
from tests.support.upstream import Upstream

AT_A_TIME = 16
ROUNDS = 5
CHUNKS = 64
TIMEOUTS = Timeouts(connect=30.0)
"""Connecting may take its time: what is measured is CPU, and the machine may be busy."""


def outbound(model: str, *, stream: bool) -> Outbound:
    """A chat request of 200 words."""
    messages = [{"role": "user", "content": " ".join(repeat("river", 200))}]
    body = orjson.dumps({"model": model, "messages": messages, "max_tokens": CHUNKS, "stream": stream})
    return Outbound("POST", "/chat/completions", (("content-type", "application/json"),), body, stream)


async def fetch(transport: HttpTransport, endpoint: Endpoint, request: Outbound) -> None:
    """One request, read to its end."""
    deadline = asyncio.get_running_loop().time() + TIMEOUTS.total
    reply = await transport.send(endpoint, request, TIMEOUTS, deadline)
    while await reply.read():
        pass
    reply.close()


async def cost(transport: HttpTransport, endpoint: Endpoint, request: Outbound, count: int) -> float:
    """µs CPU per request over `count` requests, `AT_A_TIME` under way."""

    async def some() -> None:
        for _ in range(count // AT_A_TIME):
            await fetch(transport, endpoint, request)

    begun = process_time()
    await asyncio.gather(*(some() for _ in range(AT_A_TIME)))
    return (process_time() - begun) / (count // AT_A_TIME * AT_A_TIME) * 1e6


async def compare(port: int, requests: int, streams: int) -> None:
    """Print the table."""
    transport = HttpTransport()
    endpoints = {
        "own client on httptools": Endpoint("http", "127.0.0.1", port, "/v1"),
        "httpx2": Endpoint("http", "127.0.0.1", port, "/v1", http2=True),
    }
    kinds = {
        "request": (outbound("answer-64", stream=False), requests),
        "stream": (outbound("answer-64+pace-2ms", stream=True), streams),
    }
    found: dict[tuple[str, str], list[float]] = {}
    for turn in range(ROUNDS + 1):
        for name, endpoint in endpoints.items():
            for kind, (request, count) in kinds.items():
                value = await cost(transport, endpoint, request, count)
                if turn:  # the first is warm-up
                    found.setdefault((name, kind), []).append(value)
    await transport.aclose()
    print(f"median of {ROUNDS} rounds, {AT_A_TIME} at a time\n")
    print("| client | µs CPU per small request | per chunk of a stream |\n|---|--:|--:|")
    for name in endpoints:
        print(f"| {name} | {median(found[name, 'request']):.1f} | {median(found[name, 'stream']) / CHUNKS:.1f} |")


def main() -> None:
    """Parse the command line, start the upstream, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--streams", type=int, default=64)
    options = parser.parse_args()
    with Upstream() as upstream:
        uvloop.run(compare(upstream.port, options.requests, options.streams))


if __name__ == "__main__":
    main()
