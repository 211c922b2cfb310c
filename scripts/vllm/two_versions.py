"""Two real vLLM servers, two versions of one small model, behind one model name: weighted, sticky, shadowed, promoted.

.venv/bin/python -m scripts.vllm.two_versions

Version 1 is the model less six of its layers, version 2 the whole model: a good candidate. Needs
`scripts/vllm/setup.sh --regressed` and 6 GB of memory; takes some minutes. Prints what was seen.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from math import comb
from pathlib import Path
from typing import Any

from scripts.vllm.server import Server, ServerError, vllm
from tests.support.gateway import Gateway, Json, config
from tests.support.vllm import deployment

WEIGHT = 25
CALLERS = 8
STEPS = [{"weight": weight, "hold": 2, "min_requests": 10} for weight in (25, 50, 100)]
GATES = {"error": {}, "slow_first_token": {"quantile": 0.99}, "slow_total": {"quantile": 0.99}, "refusal": {}}
QUESTIONS = ("What is a sluice gate?", "Name a river in Europe.", "Why is water wet?", "Say hello to a miller.")


@dataclass(slots=True)
class Seen:
    """What was seen: answers by status and by arm, the arms of each user, who made the answers of each arm."""

    statuses: Counter[int] = field(default_factory=Counter)
    arms: Counter[str] = field(default_factory=Counter)
    users: dict[str, set[str]] = field(default_factory=dict)
    makers: dict[str, set[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Story:
    """The whole run: both phases of traffic, what the shadow's report says, the rollout at its end, and seconds."""

    weighted: Seen
    shadow: Json
    promoting: Seen
    rollout: Json
    seconds: float


def document(first: Server, second: Server) -> Json:
    """One model before both."""
    versions = [
        deployment(server, "small", name=name) | {"health": None, "metrics": None}
        for name, server in (("v1", first), ("v2", second))
    ]
    model = {
        "name": "chat",
        "stable": "v1",
        "candidate": "v2",
        "weight": WEIGHT,
        "sticky": "user",
        "shadow": {"to": "v2", "sample": 1, "max_concurrent": 4, "budget": {"window": "day", "usd": 1}},
        "rollout": {"steps": STEPS, "gates": GATES, "horizon": 60},
    }
    made = config(versions, [model])
    made["tenants"][0]["keys"] = made["tenants"][0]["keys"][:1]  # the second is for a model that is not here
    return made


def ask(gateway: Gateway, users: Iterable[str], seen: Seen) -> None:
    """One short answer for each user, some at a time."""

    def one(user: str) -> tuple[str, Any]:
        text = QUESTIONS[sum(user.encode()) % len(QUESTIONS)]
        return user, gateway.chat("chat", text=text, user=user, max_tokens=12, temperature=0)

    with ThreadPoolExecutor(CALLERS) as callers:
        for user, answer in callers.map(one, users):
            arm = answer.headers.get("x-sluicegate-arm", "")
            seen.statuses[answer.status_code] += 1
            seen.arms[arm] += 1
            seen.users.setdefault(user, set()).add(arm)
            if answer.status_code == 200:
                seen.makers.setdefault(arm, set()).add(answer.json()["system_fingerprint"])


def weigh(gateway: Gateway) -> Seen:
    """A hundred users, twice each."""
    seen, users = Seen(), [f"user-{number}" for number in range(100)]
    ask(gateway, [*users, *users], seen)
    return seen


def shadowed(gateway: Gateway) -> Json:
    """The report once every copy has ended."""
    gateway.until(lambda: gateway.value("sluicegate_shadow_in_flight") == 0, seconds=120)

    def pairs() -> list[Json]:
        found: list[Json] = gateway.admin("/admin/v1/rollouts/chat/shadow-report").json()["pairs"]
        return found

    gateway.until(lambda: bool(pairs()), seconds=30)
    return pairs()[0]


def promote(gateway: Gateway, seen: Seen, within: float = 600) -> Json:
    """Start the rollout and send new users until it ends by itself."""

    def rollout() -> Json:
        found: Json = gateway.admin("/admin/v1/rollouts/chat").json()
        return found

    gateway.admin("/admin/v1/rollouts/chat/start", {"reason": "version 2"})
    names = count()
    until = time.monotonic() + within
    while (where := rollout())["state"] == "running" and time.monotonic() < until:
        ask(gateway, [f"visitor-{next(names)}" for _ in range(CALLERS)], seen)
    return where


def journey(folder: Path) -> Story:
    """Everything, from the servers' start to their end. Raises ServerError."""
    began = time.monotonic()
    with ExitStack() as stack:
        servers = [
            stack.enter_context(vllm("small", folder / f"{model}.log", MODEL=model, THREADS=core))
            for model, core in (("smollm2-135m-regressed", "0"), ("smollm2-135m-instruct", "1"))
        ]
        first, second = (server.wait() for server in servers)
        gateway = stack.enter_context(Gateway(document(first, second)))
        gateway.until(lambda: gateway.ops("/readyz").json()["checks"]["ledger"] == "ok", seconds=60)
        weighted, promoting = weigh(gateway), Seen()
        shadow = shadowed(gateway)
        rollout = promote(gateway, promoting)
    return Story(weighted, shadow, promoting, rollout, time.monotonic() - began)


def chance(candidates: int, users: int, share: float) -> float:
    """The probability that a binomial number of users is as far from its mean as this one, or farther."""
    off = abs(candidates - users * share)
    found = (k for k in range(users + 1) if abs(k - users * share) >= off)
    return sum(comb(users, k) * share**k * (1 - share) ** (users - k) for k in found)


def tell(story: Story) -> None:
    """Print what was seen."""
    weighted, shadow, promoting = story.weighted, story.shadow, story.promoting
    users = len(weighted.users)
    moved = sum(arms == {"candidate"} for arms in weighted.users.values())
    print(f"weighted: {moved} of {users} users at the candidate at {WEIGHT} %; answers {dict(weighted.arms)}")
    print(f"  so far off by chance alone in {100 * chance(moved, users, WEIGHT / 100):.0f} % of cases")
    print(f"sticky: {sum(len(arms) > 1 for arms in weighted.users.values())} users changed arm")
    print(f"made by: {weighted.makers}")
    print(f"shadowed: {shadow['comparisons']} comparisons of {shadow['primary']} with {shadow['shadow']},", end=" ")
    print(f"both answered {shadow['both_answered']}, same letters {shadow['similarity']}")
    print(f"promoted: {story.rollout['state']}; statuses {dict(promoting.statuses)}, arms {dict(promoting.arms)}")
    for line in reversed(story.rollout["log"]):
        print(f"  {line['event']:<8} {line['weight_before']:g} → {line['weight_after']:g} %  {line['reason']}")
    print(f"{story.seconds:.0f} s in all")


def main() -> None:
    """Run, and print what was seen."""
    try:
        with tempfile.TemporaryDirectory(prefix="sluicegate-two-") as folder:
            tell(journey(Path(folder)))
    except ServerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
