"""Traces in a real trace store: `make traces-phoenix` (`ARGS=--stay` leaves it running to look at).

Starts Phoenix, a gateway that sends it every span, and the fake upstream; asks for a plain answer, a retry, a fallback,
a stream whose caller leaves, a guarded and a copied request; reads the spans back through Phoenix's own API, prints the
trees, and fails where one is not as it must be.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from loadtests.server import free_port
from tests.journeys.test_traces import MAIL, document
from tests.support.gateway import KEY, PLAIN, Gateway, Json, deployment
from tests.support.upstream import ROOT, Upstream

PROGRAM = ROOT / ".phoenix" / "bin" / "phoenix"
QUIET = {
    "PHOENIX_TELEMETRY_ENABLED": "false", "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    "PHOENIX_DISABLE_AGENT_ASSISTANT": "true", "PHOENIX_AGENTS_DISABLE_BASH": "true",
    "PHOENIX_AGENTS_DISABLE_WEB_ACCESS": "true", "PHOENIX_AGENTS_DISABLE_GITHUB": "true", "PHOENIX_HOST": "127.0.0.1",
}  # fmt: skip
SERVER = "POST /v1/chat/completions"
Tree = dict[str, str]
"""Names of spans, each with its parent's; of several attempts of one name with their numbers."""


@contextlib.contextmanager
def phoenix(folder: Path) -> Iterator[str]:
    """A Phoenix that calls nobody; its address."""
    port = free_port()
    own = {"PHOENIX_PORT": str(port), "PHOENIX_GRPC_PORT": str(free_port()), "PHOENIX_WORKING_DIR": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "serve"], env={**os.environ, **QUIET, **own}, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 120
        while not _answers(f"{url}/healthz"):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Phoenix does not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, **PLAIN).status_code == 200
    except httpx2.HTTPError:
        return False


def setting(upstream: str, collector: str) -> Json:
    """The gateway of the tests of traces, and what fails in several ways."""
    made = document(upstream, collector, capture=True)
    for name, behaviour in (("again", "fail-first-1"), ("broken", "fail-500"), ("long", "answer-500+pace-20ms")):
        made["deployments"].append(deployment(name, upstream, behaviour))
    made["models"] += [
        {"name": "again", "stable": "again"},
        {"name": "saved", "stable": "broken", "fallbacks": ["main"]},
        {"name": "long", "stable": "long"},
    ]
    return made


def asked(gateway: Gateway) -> dict[str, tuple[str, Tree]]:
    """Trace ids by what was asked, with the tree that each must have."""
    one = gateway.chat("echo", text=f"a letter to {MAIL}")
    again, saved = gateway.chat("again"), gateway.chat("saved")
    guarded, copied = gateway.chat("guarded"), gateway.chat("copied")
    body = {"model": "long", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx2.stream("POST", f"{gateway.url}/v1/chat/completions", json=body, headers=headers, **PLAIN) as left:
        next(left.iter_raw())
    trees: dict[str, tuple[httpx2.Response, Tree]] = {
        "an answer": (one, {"chat echo": SERVER}),
        "a retry": (again, {"chat fail-first-1": SERVER, "chat fail-first-1 (2)": SERVER}),
        "a fallback": (saved, {"chat fail-500": SERVER, "chat echo": SERVER}),
        "a caller who left": (left, {"chat answer-500+pace-20ms": SERVER}),
        "a guard": (guarded, {"guard prompt": SERVER, "chat echo": SERVER, "guard completion": SERVER}),
        "a shadow": (copied, {"chat echo": SERVER, "shadow chat": SERVER, **dict.fromkeys(
            ("chat refusal@other", "evaluate shadow"), "shadow chat"
        )}),
    }  # fmt: skip
    return {
        what: (response.headers["x-request-id"].removeprefix("req_"), {SERVER: "", **tree})
        for what, (response, tree) in trees.items()
    }


def spans(url: str, trace: str, count: int) -> list[Json]:
    """The spans of a trace, once there are so many, and no more a second later."""
    found: list[Json] = []
    end = time.monotonic() + 30
    while len(found) < count and time.monotonic() < end:
        time.sleep(0.5)
        found = _spans(url, trace)
    time.sleep(1)
    return _spans(url, trace)


def _spans(url: str, trace: str) -> list[Json]:
    answer = httpx2.get(f"{url}/v1/projects/default/spans", params={"trace_id": trace, "limit": 1000}, **PLAIN)
    data: list[Json] = answer.json()["data"] if answer.status_code == 200 else []
    return sorted(data, key=lambda span: str(span["start_time"]))


def tree(found: list[Json]) -> Tree:
    """What Phoenix made of them."""
    names: dict[str, str] = {}
    for span in found:
        before = sum(name.split(" (")[0] == span["name"] for name in names.values())
        names[span["context"]["span_id"]] = span["name"] + (f" ({before + 1})" if before else "")
    return {names[one["context"]["span_id"]]: names.get(one["parent_id"], one["parent_id"] or "") for one in found}


def told(found: list[Json]) -> dict[str, Any]:
    """The attributes of the last attempt."""
    return next(span["attributes"] for span in reversed(found) if span["name"].startswith("chat "))


def main() -> int:
    """Start, ask, read back. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stay", action="store_true", help="leave Phoenix running until Enter is pressed")
    given = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="sluicegate-phoenix-") as folder, phoenix(Path(folder)) as url:
        with Upstream() as upstream, Gateway(setting(upstream.url, url)) as gateway:
            gateway.until(lambda: gateway.ops("/readyz").json()["checks"]["ledger"] == "ok", seconds=60)
            for what, (trace, wanted) in asked(gateway).items():
                found = spans(url, trace, len(wanted))
                made = tree(found)
                right = made == wanted
                wrong += not right
                print(f"{what}: {'as it must be' if right else f'WRONG, not {wanted}'}")
                for name, parent in made.items():
                    print(f"    {name}" + (f"  under  {parent}" if parent else ""))
                if what == "an answer":
                    print(
                        "    its attempt:",
                        {name: value for name, value in told(found).items() if "gen_ai" in name or "llm" in name},
                    )
        if given.stay:
            input(f"Phoenix is at {url}; press Enter to end it.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
