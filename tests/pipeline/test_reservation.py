"""Reservations: bounds, clamping, and what is settled in every way of leaving."""

from __future__ import annotations

import asyncio

import pytest

from app.errors import GatewayError
from app.metering import (
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
from app.pipeline.reservation import Bound, Reservation, StoreUnavailable, Ticket
from app.prices import Prices
from app.stores.memory import MemoryStore

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

    def at_once(self, claim: Claim) -> Verdict | None:
        """As Store's."""
        raise StoreUnavailable("down")

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


def test_a_prompt_that_may_be_long_is_bound_at_the_price_of_long_ones() -> None:
    """And a cap that has to fit into what is left is worked out with it."""
    price = Prices(1_000, 2_000, long=Prices(2_000, 5_000), long_above=100)
    assert Bound(100, 10, 1, (price,)).charge() == Charge(110, 100 + 20)
    assert Bound(101, 10, 1, (price,)).charge() == Charge(111, 202 + 50)
    for prompt, left in ((100, 100 + 14), (101, 202 + 35)):
        assert Bound(prompt, 10, 1, (price,)).fitted(money(10**9), (left,)) == 7


async def test_nothing_sent_goes_back_whole() -> None:
    """A request that never reached an upstream leaves no trace in a budget."""
    store, several = MemoryStore(), tokens(1000)
    with await Reservation(store, "r", several, bound()).take() as held:
        assert await level(store, several) == (0, 100, 0)
        assert held.charge() == NOTHING
    assert await level(store, several) == (0, 0, 0)


async def test_exact_usage_settles_and_the_rest_goes_back() -> None:
    """At once, and by what the provider said."""
    store, several = MemoryStore(), tokens(1000)
    with await Reservation(store, "r", several, bound()).take() as held:
        held.sending()
        held.spent(Charge(42, 0))
    assert await level(store, several) == (42, 0, 0)


async def test_usage_beyond_the_bound_is_overage() -> None:
    """It counts against the budget, and is told apart."""
    store, several = MemoryStore(), tokens(1000)
    with await Reservation(store, "r", several, bound()).take() as held:
        held.sending()
        held.spent(Charge(130, 0))
    assert await level(store, several) == (130, 0, 30)


@pytest.mark.parametrize("error", [RuntimeError("x"), asyncio.CancelledError(), KeyboardInterrupt()])
async def test_what_was_sent_and_is_unknown_settles_at_its_bound(error: BaseException) -> None:
    """Whatever ends the request."""
    store, several = MemoryStore(), tokens(1000)

    async def end() -> None:
        with await Reservation(store, "r", several, bound()).take() as held:
            held.sending()
            raise error

    with pytest.raises(type(error)):
        await end()
    assert await level(store, several) == (100, 0, 0)


async def test_a_cancelled_task_settles() -> None:
    """There is no await on the way out that a second cancellation could cut."""
    store, several = MemoryStore(), tokens(1000)

    async def request() -> None:
        with await Reservation(store, "r", several, bound()).take() as held:
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
    with pytest.raises(GatewayError) as refusal, await Reservation(store, "r", several, bound()).take():
        raise AssertionError
    error = refusal.value
    assert (error.status, error.code_name, error.error_type) == (429, "budget_exceeded", "insufficient_quota")
    assert error.retry_after is None
    assert "may take 100 tokens; 99 of 99 are left in the budget of tenant 't'" in error.message
    assert await level(store, several) == (0, 0, 0)


async def test_money_is_told_in_dollars() -> None:
    """10 prompt tokens and 90 of output: 190 000 nano-USD."""
    with pytest.raises(GatewayError, match=r"may cost 0\.00019 USD; 0\.000189999 of 0\.000189999 are left"):
        await Reservation(MemoryStore(), "r", money(189_999), bound()).take()


@pytest.mark.parametrize(("several", "cap"), [(tokens(60), 50), (money(60_000), 25)])
async def test_clamp_lowers_the_cap_to_what_is_left(several: Allowances, cap: int) -> None:
    """In tokens, or in what the tokens cost; the clamped bound fits exactly."""
    store = MemoryStore()
    with await Reservation(store, "r", several, bound(), CLAMP).take() as held:
        assert (held.bound.output_cap, held.clamped) == (cap, True)
        assert (await level(store, several))[1] == several.budgets[0].limit
        held.sending()
    assert (await level(store, several))[0] == several.budgets[0].limit


async def test_clamp_divides_by_the_choices() -> None:
    """`n` answers share what is left."""
    with await Reservation(MemoryStore(), "r", tokens(109), bound(10, 90, 4), CLAMP).take() as held:
        assert held.bound.output_cap == 24


async def test_clamp_below_its_floor_rejects() -> None:
    """An answer of nine tokens is not worth a call where the floor is ten."""
    with pytest.raises(GatewayError, match="are left"):
        await Reservation(MemoryStore(), "r", tokens(19), bound(), CLAMP).take()


async def test_clamp_cannot_help_embeddings() -> None:
    """There is no output to lower."""
    with pytest.raises(GatewayError, match="are left"):
        await Reservation(MemoryStore(), "r", tokens(9), bound(10, 0), CLAMP).take()


async def test_clamp_gives_up_when_others_are_always_faster() -> None:
    """It tries a few times, not for ever."""

    class Shrinking(MemoryStore):
        left = 90

        async def reserve(self, claim: Claim) -> Verdict:
            self.left -= 1
            return Verdict(0, (self.left,))

    with pytest.raises(GatewayError, match="are left"):
        await Reservation(Shrinking(), "r", tokens(1000), bound(), CLAMP).take()


async def test_another_attempt_keeps_what_the_first_may_have_cost() -> None:
    """The reservation is raised by a second bound, or the attempt is not made."""
    store, several = MemoryStore(), tokens(220)
    with await Reservation(store, "r", several, bound()).take() as held:
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
    with await Reservation(store, "r", several, bound()).take() as held:
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
    with await Reservation(store, "r", several, bound(), clock=lambda: now).take() as held:
        held.sending()
        now = 5.0
        with pytest.raises(GatewayError) as late:
            held.sending()
    assert late.value.status == 503


async def test_an_attempt_that_never_left_is_made_again_without_asking() -> None:
    """Unless it waited so long that the reservation may be void: then the same one is asked for again."""
    asked = []

    class Fencing(MemoryStore):
        async def reserve(self, claim: Claim) -> Verdict:
            asked.append(claim.amount)
            return Verdict((await super().reserve(claim)).refused, send_by=now + 5)

    now = 0.0
    store, several = Fencing(), tokens(150)
    with await Reservation(store, "r", several, bound(), clock=lambda: now).take() as held:
        held.sending()
        await held.again(billed=False)
        assert len(asked) == 1
        now = 6.0
        await held.again(billed=False)
        held.sending()
        assert asked == [Charge(100, 190_000)] * 2
    assert await level(store, several) == (100, 0, 0)


@pytest.mark.parametrize("on_failure", OnFailure)
async def test_a_store_that_does_not_answer_is_a_503(on_failure: OnFailure) -> None:
    """And nothing is settled that was never reserved."""
    policy = Policy(on_store_failure=on_failure)
    with pytest.raises(GatewayError) as closed:
        await Reservation(Broken(), "r", tokens(1000), bound(), policy).take()
    assert (closed.value.status, closed.value.retry_after) == (503, 1)
    with pytest.raises(GatewayError) as closed:
        await Ticket(Broken(), "a", tokens(1000)).take()
    assert closed.value.status == 503


async def test_admission_holds_a_place_and_uses_a_request() -> None:
    """The place is free again afterwards, the request stays counted."""
    store = MemoryStore(monotonic=lambda: 1000.0)
    several = Allowances((), (Limit(TENANT, Measure.REQUESTS, 3), Limit(TENANT, Measure.CONCURRENT, 1)))
    with await Ticket(store, "a", several).take() as first:
        assert first.left == (0, 2)
        with pytest.raises(GatewayError, match="limit of 1 requests at the same time for tenant 't'") as full:
            await Ticket(store, "b", several).take()
        assert (full.value.status, full.value.retry_after) == (429, 1.0)
    with await Ticket(store, "c", several).take() as second:
        assert second.left == (0, 1)
    with await Ticket(store, "d", several).take():
        pass
    with pytest.raises(GatewayError, match="3 requests per minute") as fast:
        await Ticket(store, "e", several).take()
    assert fast.value.retry_after == pytest.approx(20)


async def test_tokens_per_minute_are_refused_as_a_rate() -> None:
    """With the rate's own code, not the budget's; what was not used goes back to the bucket."""
    store = MemoryStore(monotonic=lambda: 1000.0)
    several = Allowances((), (Limit(TENANT, Measure.TOKENS, 150),))
    with await Reservation(store, "r", several, bound()).take() as held:
        assert held.left == (50,)
        with pytest.raises(GatewayError, match="150 tokens per minute") as fast:
            await Reservation(store, "s", several, bound()).take()
        assert fast.value.code_name == "rate_limit_exceeded"
        held.sending()
        held.spent(Charge(20, 0))
    with await Reservation(store, "t", several, bound()).take() as held:
        assert held.left == (30,)


def test_nothing_is_a_value() -> None:
    """Charges compare and add by value."""
    assert NOTHING.plus(Charge(1, 2)) == Charge(1, 2)
    assert Charge(5, 1).within(Charge(3, 9)) == Charge(3, 1)
