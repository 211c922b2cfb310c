"""A gateway that is compiled does what one that is interpreted does, whatever callers and upstreams say.

    python -m tests.proofs.alike [--cases N] [--seed N] [--captured]

Two gateways, one with `SLUICEGATE_PURE`, get the same requests, and their upstreams the same answers: valid ones of
every surface and provider, and ones in which values were replaced, dropped or doubled, or bytes torn. Held against each
other: what the caller gets, what was sent upstream, what the access log says. Compiled code checks the types that the
source declares, where interpreted code checks nothing: what comes from outside must not reach one unchecked.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from random import Random

import httpx2

from app.compiled import PURE
from tests.proofs.cases import Case, Maker
from tests.support.gateway import KEY, Gateway, Json, config, deployment
from tests.support.matrix import PROVIDERS
from tests.support.providers import BASES
from tests.support.told import Told

_NAMES = re.compile(rb"\b[a-z_]+[_-][0-9a-f]{16,}(?:_\d+)?\b")
_TIMES = re.compile(rb'"(?:created|created_at|completed_at)":[0-9.]+')
_OWN = {"date", "x-request-id", "server-timing", "connection"}
"""Headers that are each gateway's own; it closes a connection on which a body was still under way when it refused."""
_COUNTS = frozenset(("input_tokens", "output_tokens", "usage", "cost_usd"))


@dataclass
class Seen:
    """What came of a case at one gateway."""

    status: int
    headers: dict[str, str]
    body: bytes
    asked: list[tuple[str, str, bytes]]


class Side:
    """One of the two gateways and its upstream."""

    def __init__(self, upstream: Told, gateway: Gateway, client: httpx2.AsyncClient) -> None:
        self.gateway = gateway
        self._upstream = upstream
        self._client = client

    async def play(self, case: Case, *, breath: bool) -> Seen:
        """Ask, and see."""
        self._upstream.reply, self._upstream.breath = (case.status, case.kind, case.pieces), breath
        self._upstream.asked.clear()
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json", **case.headers}
        try:
            answer = await self._client.post(
                self.gateway.url + case.path,
                content=case.body,
                headers=[(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
            )
        except httpx2.RemoteProtocolError as error:
            return Seen(0, {}, str(error).encode(), [])
        kept = {name: value for name, value in answer.headers.items() if name not in _OWN}
        asked = [(method, path, _plain(body)) for method, path, body in self._upstream.asked]
        return Seen(answer.status_code, kept, _plain(answer.content), asked)


def _plain(body: bytes) -> bytes:
    """Without ids and times, which are the gateway's own."""
    return _TIMES.sub(b'"created":0', _NAMES.sub(b"<id>", body))


def document(url: str, collector: str, *, captured: bool) -> Json:
    """Each provider in each kind; every answer comes from the same place."""
    stage = {"detectors": ["rules", "pii"], "actions": {"pii": "redact"}, "deadline_ms": 20_000}
    settings: dict[str, Json] = {
        "plain": {},
        "guarded": {"guard": "guard"},
        "short": {"token_limit": "truncate"},
        "templated": {"template": "brief"},
    }
    deployments: list[Json] = []
    models: list[Json] = []
    for provider in PROVIDERS:
        for kind, given in settings.items():
            name = f"{provider}-{kind}"
            window = {"context_window": 100, "max_output_tokens": 30} if kind == "short" else {}
            one = deployment(name, url, "m", provider=provider, **window) | {"base_url": url + BASES[provider]}
            deployments.append(one)
            models.append({"name": name, "stable": name, **given})
    return config(
        [*deployments, deployment("to-echo", url, "echo")],
        [*models, {"name": "echo", "stable": "to-echo"}],
        guards=[{"name": "guard", "blocklist": ["codename"], "prompt": stage, "completion": stage}],
        templates=[{"name": "brief", "tone": "Be brief.", "safety": "Be kind."}],
        telemetry={"otlp_endpoint": collector, "trace_sample": 1.0, "capture_content": True} if captured else {},
    )


@dataclass
class Result:
    """What came of a run: `differences` are told, at most a few."""

    cases: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    states: tuple[str, str] = ("", "")
    differences: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Where either gateway failed by itself, each place once."""


async def run(cases: int, seed: int, *, captured: bool, most: int = 20) -> Result:
    """Play them, and compare. `captured` has everything be traced with its content, which takes another way.

    `states` says how either gateway ran: `yes` is compiled, `no` or `outdated` is not.
    """
    result, maker, random = Result(), Maker(seed), Random(seed)
    breaths: list[bool] = []
    async with Told() as first, Told() as second, Told() as collector:
        collector.reply = (200, "application/json", [b"{}"])
        client = httpx2.AsyncClient(timeout=30, trust_env=False)
        with ExitStack() as stack:
            sides = []
            for upstream, pure in ((first, ""), (second, "1")):
                gateway = Gateway(document(upstream.url, collector.url, captured=captured))
                gateway.environ[PURE] = pure
                stack.enter_context(gateway)
                sides.append(Side(upstream, gateway, client))
            one, other = sides
            result.states = one.gateway.said("listening")[0]["compiled"], other.gateway.said("listening")[0]["compiled"]
            for number in range(cases):
                case = maker.case()
                breath = case.sound and random.random() < 0.3
                breaths.append(breath)
                found, wanted = await asyncio.gather(*(side.play(case, breath=breath) for side in sides))
                result.cases += 1
                result.statuses[wanted.status] = result.statuses.get(wanted.status, 0) + 1
                if found != wanted:
                    result.differences.append(f"case {number}: {case}\n{_where(str(found), str(wanted))}")
                    if len(result.differences) == most:
                        break
            await client.aclose()
            result.differences += _lines(one.gateway, other.gateway, breaths)
            for side in sides:
                result.faults += _faults(side.gateway)
    return result


def _faults(gateway: Gateway) -> list[str]:
    """Each place where it failed by itself; they are told here, and not again when it is left."""
    traces = [str(line["exception"]) for line in gateway.said() if line.get("exception")]
    gateway.messages.write_text("")
    return list({"".join(trace.splitlines()[-3:]): trace for trace in traces}.values())


def _has(gateway: Gateway, number: int) -> bool:
    return len(gateway.lines()) >= number


def _lines(one: Gateway, other: Gateway, breaths: list[bool]) -> list[str]:
    """Where their access logs differ. How much of a stream had come before it was cut hangs on how it arrived."""
    for gateway in (one, other):
        gateway.until(partial(_has, gateway, len(breaths)))
    found = []
    for at, (a, b, breath) in enumerate(zip(one.lines(), other.lines(), breaths, strict=True)):
        beside = _COUNTS if breath and a.get("usage") != "exact" else frozenset()
        mine, others = (
            {name: v for name, v in line.items() if not _own(name) and name not in beside} for line in (a, b)
        )
        if mine != others:
            found.append(f"line {at}: {_where(str(mine), str(others))}")
    return found


def _own(name: str) -> bool:
    """Whether a field of the log is a time or an id, and each gateway's own."""
    return name in {"ts", "request_id", "trace_id", "span_id"} or name.endswith("_ms")


def _where(compiled: str, interpreted: str) -> str:
    """The first place where two texts differ."""
    same = next((at for at, (a, b) in enumerate(zip(compiled, interpreted, strict=False)) if a != b), 0)
    at = max(same - 60, 0)
    return f"compiled:    …{compiled[at : at + 300]}\ninterpreted: …{interpreted[at : at + 300]}"


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--captured", action="store_true")
    given = parser.parse_args()
    result = asyncio.run(run(given.cases, given.seed, captured=given.captured))
    for trouble in (*result.differences, *result.faults):
        print(trouble)
    print(f"{result.cases} cases, {len(result.differences)} differences, {len(result.faults)} faults")
    print(f"compiled: {result.states}; {result.statuses}")
    return 1 if result.differences or result.faults or result.states[0] != "yes" or result.states[1] == "yes" else 0


if __name__ == "__main__":
    sys.exit(main())
