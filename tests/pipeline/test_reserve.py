"""Reservations on the path: what is reserved, sent, settled and told, in every way that a request can end."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from app.entry import decode
from app.errors import Failure, GatewayError, UpstreamFailure
from app.exchange import Arm, Operation, Principal
from app.metering import (
    MOST,
    Allowances,
)
from app.pipeline.plan import Plan
from app.pipeline.progress import Progress
from app.pipeline.reserve import Reserver, bound_of
from app.stores.memory import MemoryStore
from app.telemetry import OVERAGE_TOKENS, OVERAGE_USD
from tests.pipeline.parts import call, deployment
from tests.pipeline.script import STREAM, WHOLE, Path, Reply, chunk


async def level(store: MemoryStore, several: Allowances) -> tuple[int, int, int]:
    """Used, reserved and overage of the one budget."""
    [one] = await store.levels(several)
    return one.used, one.reserved, one.overage


def limited(tokens_: int, **tenant: object) -> dict[str, object]:
    """A tenant's budget of so many tokens, and other settings of it."""
    settings = {f"tenants[0].{name}": value for name, value in tenant.items()}
    return {"tenants[0].budgets": [{"window": "total", "tokens": tokens_}], **settings}


async def used(path: Path) -> tuple[int, int, int]:
    """Used, reserved and overage of the one budget."""
    return await level(path.limits, path.state.table.scopes.every)


def told(progress: Progress) -> list[tuple[str, int]]:
    """What is left of each limit, as headers will tell it."""
    pairs = [pair for limits, left in progress.rates for pair in zip(limits, left, strict=True)]
    return [(limit.measure.value, rest) for limit, rest in pairs]


def lost(*, sent: bool = True) -> UpstreamFailure:
    """An attempt that was never answered."""
    return UpstreamFailure(Failure.FIRST_BYTE_TIMEOUT if sent else Failure.CONNECT, "gone", sent=sent)


async def test_a_request_is_charged_what_it_used() -> None:
    """And what it may have used is told to the upstream, which would else make more."""
    path = Path(Reply(WHOLE), changes=limited(5000))
    _, error, line = await path.ask()
    assert (error, line["usage"]) == (None, "exact")
    assert await used(path) == (12, 0, 0)
    assert orjson.loads(path.sent[0].body)["max_tokens"] == 1024


async def test_what_nothing_limits_goes_through_untouched() -> None:
    """But for the deployment's cap, which every answer has; settled all the same."""
    path = Path(Reply(WHOLE))
    _, _, line = await path.ask()
    assert line["cost_usd"] > 0
    assert orjson.loads(path.sent[0].body)["max_tokens"] == 1024


async def test_an_exact_count_is_what_is_reserved() -> None:
    """Where one was made: the bound from bytes would fill the window, and not fit the budget. The ledger says how."""
    path = Path(Reply(WHOLE), changes=limited(5100), exact=4000)
    seen: list[asyncio.Task[tuple[int, int, int]]] = []
    path.on_send = lambda: seen.append(asyncio.ensure_future(used(path)))
    text = "a " * 6000
    _, error, line = await path.ask({"messages": [{"role": "user", "content": text}]})
    assert (error, line["count"], line["prompt_bound"]) == (None, "exact", 4000)
    assert [one.result() for one in seen] == [(0, 4000 + 1024, 0)]
    opened, closed = (decode(*record[1:]) for record in path.journal.told)
    assert (opened.input_tokens, opened.count_method, closed.count_method) == (4000, "exact", "exact")


async def test_a_bound_that_does_not_fit_is_not_sent() -> None:
    """The refusal has the budget's outcome; the upstream sees nothing and the ledger has no row."""
    path = Path(changes=limited(1000))
    _, error, line = await path.ask()
    assert error is not None
    assert (error.code_name, line["outcome"], path.sent, path.journal.told) == (
        "budget_exceeded",
        "refused_budget",
        [],
        [],
    )


async def test_clamp_lowers_what_the_upstream_is_asked_for() -> None:
    """And says so; what is cut afterwards is settled within the lowered bound."""
    path = Path(Reply(chunk("a"), lost()), changes=limited(300, on_over_budget="clamp"))
    _, error, line = await path.ask({"stream": True})
    assert error is not None
    sent = orjson.loads(path.sent[0].body)["max_tokens"]
    assert 64 < sent < 300
    assert line["output_tokens"] == 17
    assert (await used(path))[1:] == (0, 0)


@pytest.mark.parametrize(("limit", "attempts"), [(1500, 1), (5000, 2)])
async def test_an_attempt_after_one_that_may_have_been_billed_is_reserved_or_not_made(
    limit: int, attempts: int
) -> None:
    """Where both do not fit, the caller gets the first one's error; either way nothing exceeds the budget."""
    path = Path(lost(), Reply(WHOLE), patient=False, changes=limited(limit))
    _, error, line = await path.ask()
    assert (len(path.sent), line["attempts"]) == (attempts, attempts)
    assert (error is None) is (attempts == 2)
    spent, reserved, overage = await used(path)
    assert (reserved, overage) == (0, 0)
    assert 1024 < spent <= limit


async def test_an_attempt_after_one_that_never_left_needs_no_room() -> None:
    """A budget for one bound is enough."""
    path = Path(lost(sent=False), Reply(WHOLE), patient=False, changes=limited(1500))
    _, error, _ = await path.ask()
    assert (error, len(path.sent), await used(path)) == (None, 2, (12, 0, 0))


@pytest.mark.parametrize("cut_at", range(8))
async def test_a_caller_who_leaves_at_any_await_leaves_nothing_reserved(cut_at: int) -> None:
    """What it used, or may have, is charged; the rest is back."""
    path = Path(Reply(*STREAM), cut_at=cut_at, changes=limited(5000))
    await path.ask({"stream": True})
    spent, reserved, _ = await used(path)
    assert reserved == 0
    assert (spent > 0) is bool(path.sent)


async def test_usage_beyond_the_bound_is_charged_and_told() -> None:
    """As overage: in the budget, in the metrics, for whoever asks the provider."""
    body = orjson.dumps({"choices": [{"message": {}}], "usage": {"prompt_tokens": 9, "completion_tokens": 4000}})
    path = Path(Reply(body), changes=limited(5000))
    await path.ask({"max_tokens": 10})
    spent, _, overage = await used(path)
    assert spent == 4009
    assert 3800 < overage < 4000
    assert path.telemetry.total(OVERAGE_TOKENS, "one") == overage
    assert path.telemetry.total(OVERAGE_USD, "one") > 0


async def test_absurd_usage_is_kept_within_what_is_counted() -> None:
    """A number that no upstream can mean fills the budget, and breaks nothing."""
    body = orjson.dumps({"choices": [{"message": {}}], "usage": {"prompt_tokens": 2**62, "completion_tokens": 2**62}})
    path = Path(Reply(body), changes=limited(5000))
    await path.ask()
    assert (await used(path))[0] == MOST.tokens


async def test_a_store_that_is_away_closes_what_is_limited() -> None:
    """503; what nothing limits goes on."""
    path = Path(changes=limited(5000))
    path.limits.ready = False
    _, error, line = await path.ask()
    assert error is not None
    assert (error.status, line["outcome"]) == (503, "overloaded")
    free = Path(Reply(WHOLE))
    free.limits.ready = False
    assert (await free.ask())[1] is None


async def test_where_a_guard_stands_between_requests_are_admitted_first() -> None:
    """Its place and its request are taken before the prompt is looked at, tokens after; both are given back."""
    rates = {"concurrent": 1, "requests_per_minute": 2, "tokens_per_minute": 50_000}
    changes = {
        "tenants[0].limits": rates,
        "guards": [{"name": "g", "prompt": {"detectors": ["rules"]}}],
        "models[0].guard": "g",
    }
    path = Path(Reply(WHOLE), changes=changes)
    progress = Progress("r", Operation.CHAT)
    progress.principal, progress.call = Principal("team", "ci"), call()
    reserver = Reserver(path.limits)
    with await reserver.admit(progress, path.state.table):
        assert told(progress) == [("concurrent", 0), ("requests", 1)]
        other = Progress("s", Operation.CHAT)
        other.principal, other.call = progress.principal, progress.call
        with pytest.raises(GatewayError, match="at the same time"):
            await reserver.admit(other, path.state.table)
    await path.ask()
    assert path.limits._open == {}


async def test_rates_are_told_on_refusals_too() -> None:
    """What the `x-ratelimit-*` headers are made of."""
    path = Path(changes={"tenants[0].limits": {"requests_per_minute": 10, "tokens_per_minute": 100}})
    progress = Progress("r", Operation.CHAT)
    progress.principal, progress.call = Principal("team", "ci"), call()
    plan = Plan(((Arm.STABLE, path.state.table.deployments["one"]),))
    with pytest.raises(GatewayError, match="100 tokens per minute"):
        await Reserver(path.limits).reserve(call(), plan, progress, path.state.table, lambda _: None)
    assert told(progress) == [("requests", 10), ("tokens", 100)]


def test_the_bound_of_a_plan_holds_for_each_of_its_deployments() -> None:
    """The longest prompt, the highest cap, the dearest price."""
    one, two = deployment("one", max_output_tokens=10), deployment("two", max_output_tokens=500)
    bound_ = bound_of(call(n=2), Plan(((Arm.STABLE, one), (Arm.FALLBACK, two))))
    assert (bound_.output_cap, bound_.choices, bound_.prices) == (500, 2, (one.price, two.price))
