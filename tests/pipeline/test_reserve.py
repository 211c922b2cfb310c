"""Reservations: bounds, clamping, and what is settled in every way of leaving."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from app.errors import Failure, GatewayError, UpstreamFailure
from app.exchange import Arm, Operation, Principal
from app.metering import (
    MOST,
    NOTHING,
    Allowances,
    Budget,
    Charge,
    Claim,
    Level,
    Limit,
    Measure,
    OnFailure,
    OnOverBudget,
    Policy,
    Scope,
    ScopeKind,
    Unit,
    Verdict,
    Window,
)
from app.pipeline.plan import Plan
from app.pipeline.progress import Progress
from app.pipeline.reserve import Bound, Reservation, Reserver, StoreUnavailable, Ticket, bound_of
from app.prices import Prices
from app.stores.memory import MemoryStore
from app.telemetry import OVERAGE_TOKENS, OVERAGE_USD
from tests.pipeline.parts import call, deployment
from tests.pipeline.script import STREAM, WHOLE, Path, Reply, chunk

TENANT = Scope(ScopeKind.TENANT, "t")
PRICE = Prices(1_000_000, 2_000_000)  # 1000 and 2000 nano-USD a token
CLAMP = Policy(OnOverBudget.CLAMP, clamp_floor=10)


def tokens(limit: int) -> Allowances:
    """One budget in tokens."""
    return Allowances((Budget(TENANT, Window.TOTAL, Unit.TOKENS, limit),))


def money(limit: int) -> Allowances:
    """One budget in nano-USD."""
    return Allowances((Budget(TENANT, Window.TOTAL, Unit.MONEY, limit),))


def bound(prompt: int = 10, cap: int = 90, choices: int = 1) -> Bound:
    """A request's bound at PRICE."""
    return Bound(prompt, cap, choices, (PRICE,))


async def level(store: MemoryStore, several: Allowances) -> tuple[int, int, int]:
    """Used, reserved and overage of the one budget."""
    [one] = await store.levels(several)
    return one.used, one.reserved, one.overage


class Broken:
    """A store that does not answer."""

    async def reserve(self, claim: Claim) -> Verdict:
        """As Store's."""
        raise StoreUnavailable("down")

    def settle(self, claim_id: str, charge: Charge) -> None:
        """As Store's."""
        raise AssertionError("nothing was reserved")

    async def levels(self, allowances: Allowances) -> list[Level]:
        """As Store's."""
        raise StoreUnavailable("down")


def test_a_bound_is_prompt_and_cap_times_choices_at_the_dearest_price() -> None:
    """Of all deployments that the plan may use."""
    both = Bound(100, 50, 128, (Prices(5_000, 0), Prices(1_000, 2_000)))
    assert both.charge() == Charge(100 + 50 * 128, 100 + 12_800)
    assert Bound(100, 0, 1, ()).charge() == Charge(100, 0)


async def test_nothing_sent_goes_back_whole() -> None:
    """A request that never reached an upstream leaves no trace in a budget."""
    store, several = MemoryStore(), tokens(1000)
    async with Reservation(store, "r", several, bound()) as held:
        assert await level(store, several) == (0, 100, 0)
        assert held.charge() == NOTHING
    assert await level(store, several) == (0, 0, 0)


async def test_exact_usage_settles_and_the_rest_goes_back() -> None:
    """At once, and by what the provider said."""
    store, several = MemoryStore(), tokens(1000)
    async with Reservation(store, "r", several, bound()) as held:
        held.sending()
        held.spent(Charge(42, 0))
    assert await level(store, several) == (42, 0, 0)


async def test_usage_beyond_the_bound_is_overage() -> None:
    """It counts against the budget, and is told apart."""
    store, several = MemoryStore(), tokens(1000)
    async with Reservation(store, "r", several, bound()) as held:
        held.sending()
        held.spent(Charge(130, 0))
    assert await level(store, several) == (130, 0, 30)


@pytest.mark.parametrize("error", [RuntimeError("x"), asyncio.CancelledError(), KeyboardInterrupt()])
async def test_what_was_sent_and_is_unknown_settles_at_its_bound(error: BaseException) -> None:
    """Whatever ends the request."""
    store, several = MemoryStore(), tokens(1000)

    async def end() -> None:
        async with Reservation(store, "r", several, bound()) as held:
            held.sending()
            raise error

    with pytest.raises(type(error)):
        await end()
    assert await level(store, several) == (100, 0, 0)


async def test_a_cancelled_task_settles() -> None:
    """There is no await on the way out that a second cancellation could cut."""
    store, several = MemoryStore(), tokens(1000)

    async def request() -> None:
        async with Reservation(store, "r", several, bound()) as held:
            held.sending()
            held.spent(Charge(7, 0))
            await asyncio.sleep(60)

    task = asyncio.create_task(request())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await level(store, several) == (7, 0, 0)


async def test_reject_says_what_is_left() -> None:
    """429, OpenAI's type for it, and when to come back: never, for a total."""
    store, several = MemoryStore(), tokens(99)
    with pytest.raises(GatewayError) as refusal:
        async with Reservation(store, "r", several, bound()):
            raise AssertionError
    error = refusal.value
    assert (error.status, error.code_name, error.error_type) == (429, "budget_exceeded", "insufficient_quota")
    assert error.retry_after is None
    assert "may take 100 tokens; 99 of 99 are left in the budget of tenant 't'" in error.message
    assert await level(store, several) == (0, 0, 0)


async def test_money_is_told_in_dollars() -> None:
    """10 prompt tokens and 90 of output: 190 000 nano-USD."""
    with pytest.raises(GatewayError, match=r"may cost 0\.00019 USD; 0\.000189999 of 0\.000189999 are left"):
        await Reservation(MemoryStore(), "r", money(189_999), bound()).__aenter__()


@pytest.mark.parametrize(("several", "cap"), [(tokens(60), 50), (money(60_000), 25)])
async def test_clamp_lowers_the_cap_to_what_is_left(several: Allowances, cap: int) -> None:
    """In tokens, or in what the tokens cost; the clamped bound fits exactly."""
    store = MemoryStore()
    async with Reservation(store, "r", several, bound(), CLAMP) as held:
        assert (held.bound.output_cap, held.clamped) == (cap, True)
        assert (await level(store, several))[1] == several.budgets[0].limit
        held.sending()
    assert (await level(store, several))[0] == several.budgets[0].limit


async def test_clamp_divides_by_the_choices() -> None:
    """`n` answers share what is left."""
    async with Reservation(MemoryStore(), "r", tokens(109), bound(10, 90, 4), CLAMP) as held:
        assert held.bound.output_cap == 24


async def test_clamp_below_its_floor_rejects() -> None:
    """An answer of nine tokens is not worth a call where the floor is ten."""
    with pytest.raises(GatewayError, match="are left"):
        await Reservation(MemoryStore(), "r", tokens(19), bound(), CLAMP).__aenter__()


async def test_clamp_cannot_help_embeddings() -> None:
    """There is no output to lower."""
    with pytest.raises(GatewayError, match="are left"):
        await Reservation(MemoryStore(), "r", tokens(9), bound(10, 0), CLAMP).__aenter__()


async def test_clamp_gives_up_when_others_are_always_faster() -> None:
    """It tries a few times, not for ever."""

    class Shrinking(MemoryStore):
        left = 90

        async def reserve(self, claim: Claim) -> Verdict:
            self.left -= 1
            return Verdict(0, (self.left,))

    with pytest.raises(GatewayError, match="are left"):
        await Reservation(Shrinking(), "r", tokens(1000), bound(), CLAMP).__aenter__()


async def test_another_attempt_keeps_what_the_first_may_have_cost() -> None:
    """The reservation is raised by a second bound, or the attempt is not made."""
    store, several = MemoryStore(), tokens(220)
    async with Reservation(store, "r", several, bound()) as held:
        held.sending()
        await held.again()
        assert await level(store, several) == (0, 200, 0)
        held.sending()
        held.spent(Charge(130, 0))
        with pytest.raises(GatewayError, match="are left"):
            await held.again()
    assert await level(store, several) == (130, 0, 0)


async def test_another_attempt_after_nothing_was_sent_costs_nothing() -> None:
    """A refused connection is no attempt that could be billed."""
    store, several = MemoryStore(), tokens(100)
    async with Reservation(store, "r", several, bound()) as held:
        await held.again()
        held.sending()
        held.spent(Charge(1, 0))
    assert await level(store, several) == (1, 0, 0)


async def test_a_reservation_that_waited_too_long_is_not_sent() -> None:
    """Whoever rebuilt the store meanwhile does not know of it."""

    class Impatient(MemoryStore):
        async def reserve(self, claim: Claim) -> Verdict:
            return Verdict((await super().reserve(claim)).refused, send_by=5.0)

    now = 4.0
    store, several = Impatient(), tokens(1000)
    async with Reservation(store, "r", several, bound(), clock=lambda: now) as held:
        held.sending()
        now = 5.0
        with pytest.raises(GatewayError) as late:
            held.sending()
    assert late.value.status == 503


@pytest.mark.parametrize("on_failure", OnFailure)
async def test_a_store_that_does_not_answer_is_a_503(on_failure: OnFailure) -> None:
    """And nothing is settled that was never reserved."""
    policy = Policy(on_store_failure=on_failure)
    with pytest.raises(GatewayError) as closed:
        await Reservation(Broken(), "r", tokens(1000), bound(), policy).__aenter__()
    assert (closed.value.status, closed.value.retry_after) == (503, 1)
    with pytest.raises(GatewayError) as closed:
        await Ticket(Broken(), "a", tokens(1000)).__aenter__()
    assert closed.value.status == 503


async def test_admission_holds_a_place_and_uses_a_request() -> None:
    """The place is free again afterwards, the request stays counted."""
    store = MemoryStore(monotonic=lambda: 1000.0)
    several = Allowances((), (Limit(TENANT, Measure.REQUESTS, 3), Limit(TENANT, Measure.CONCURRENT, 1)))
    async with Ticket(store, "a", several) as first:
        assert first.left == (0, 2)
        with pytest.raises(GatewayError, match="limit of 1 requests at the same time for tenant 't'") as full:
            await Ticket(store, "b", several).__aenter__()
        assert (full.value.status, full.value.retry_after) == (429, 1.0)
    async with Ticket(store, "c", several) as second:
        assert second.left == (0, 1)
    async with Ticket(store, "d", several):
        pass
    with pytest.raises(GatewayError, match="3 requests per minute") as fast:
        await Ticket(store, "e", several).__aenter__()
    assert fast.value.retry_after == pytest.approx(20)


async def test_tokens_per_minute_are_refused_as_a_rate() -> None:
    """With the rate's own code, not the budget's; what was not used goes back to the bucket."""
    store = MemoryStore(monotonic=lambda: 1000.0)
    several = Allowances((), (Limit(TENANT, Measure.TOKENS, 150),))
    async with Reservation(store, "r", several, bound()) as held:
        assert held.left == (50,)
        with pytest.raises(GatewayError, match="150 tokens per minute") as fast:
            await Reservation(store, "s", several, bound()).__aenter__()
        assert fast.value.code_name == "rate_limit_exceeded"
        held.sending()
        held.spent(Charge(20, 0))
    async with Reservation(store, "t", several, bound()) as held:
        assert held.left == (30,)


def test_nothing_is_a_value() -> None:
    """Charges compare and add by value."""
    assert NOTHING.plus(Charge(1, 2)) == Charge(1, 2)
    assert Charge(5, 1).within(Charge(3, 9)) == Charge(3, 1)


# --- on the path ------------------------------------------------------------------------------------------


def limited(tokens_: int, **tenant: object) -> dict[str, object]:
    """A tenant's budget of so many tokens, and other settings of it."""
    settings = {f"tenants[0].{name}": value for name, value in tenant.items()}
    return {"tenants[0].budgets": [{"window": "total", "tokens": tokens_}], **settings}


async def used(path: Path) -> tuple[int, int, int]:
    """Used, reserved and overage of the one budget."""
    return await level(path.limits, path.state.table.scopes.every)


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
    """No cap that the caller did not give; settled all the same."""
    path = Path(Reply(WHOLE))
    _, _, line = await path.ask()
    assert line["cost_usd"] > 0
    assert "max_tokens" not in orjson.loads(path.sent[0].body)


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
    async with reserver.admit(progress, path.state.table):
        assert [(rate.measure, rate.left) for rate in progress.rates] == [("requests", 1)]
        other = Progress("s", Operation.CHAT)
        other.principal, other.call = progress.principal, progress.call
        with pytest.raises(GatewayError, match="at the same time"):
            await reserver.admit(other, path.state.table).__aenter__()
    await path.ask()
    assert path.limits._open == {}


async def test_rates_are_told_on_refusals_too() -> None:
    """What the `x-ratelimit-*` headers are made of."""
    path = Path(changes={"tenants[0].limits": {"requests_per_minute": 10, "tokens_per_minute": 100}})
    progress = Progress("r", Operation.CHAT)
    progress.principal, progress.call = Principal("team", "ci"), call()
    plan = Plan(((Arm.STABLE, path.state.table.deployments["one"]),))
    with pytest.raises(GatewayError, match="100 tokens per minute"):
        await Reserver(path.limits).reserve(call(), plan, progress, path.state.table, lambda _: None).__aenter__()
    assert [(rate.measure, rate.limit, rate.left) for rate in progress.rates] == [
        ("requests", 10, 10),
        ("tokens", 100, 100),
    ]


def test_the_bound_of_a_plan_holds_for_each_of_its_deployments() -> None:
    """The longest prompt, the highest cap, the dearest price."""
    one, two = deployment("one", max_output_tokens=10), deployment("two", max_output_tokens=500)
    bound_ = bound_of(call(n=2), Plan(((Arm.STABLE, one), (Arm.FALLBACK, two))))
    assert (bound_.output_cap, bound_.choices, bound_.prices) == (500, 2, (one.price, two.price))
