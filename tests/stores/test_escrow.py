"""Slices: what is drawn, what is served from them, when they are given back."""

from __future__ import annotations

import pytest

from app.metering import Allowances, Budget, Charge, Claim, Limit, Measure, Scope, ScopeKind, Unit, Window
from app.stores.escrow import Escrow, rows

NOW = 1_800_057_600.0
TOKENS = Budget(Scope(ScopeKind.TENANT, "t"), Window.DAY, Unit.TOKENS, 10_000)
MONEY = Budget(Scope(ScopeKind.EVERYTHING), Window.MONTH, Unit.MONEY, 10_000_000)
BOTH = Allowances((TOKENS, MONEY))


@pytest.fixture
def escrow() -> Escrow:
    """One of two workers: a slice of TOKENS is a hundredth, 100 tokens."""
    return Escrow("w", workers=2, slice_seconds=10)


def take(
    escrow: Escrow, name: str, amount: int, now: float = NOW, epoch: str = "e", several: Allowances = BOTH
) -> bool:
    """Try to take a claim from slices."""
    claim = Claim(name, several, Charge(amount, amount * 100))
    return escrow.take(claim, rows(several, now), epoch, now) is not None


def fill(escrow: Escrow, now: float = NOW, epoch: str = "e") -> list[int]:
    """Draw everything that is wanted, and get it; how much of each."""
    asked = escrow.draws(epoch, now)
    for one, want in asked:
        escrow.drawn(one, want, now)
    return [want for _, want in asked]


def test_nothing_is_served_before_it_was_drawn(escrow: Escrow) -> None:
    """The first claim misses, and makes the escrow hungry for a share of every budget in scope."""
    assert not take(escrow, "r1", 30)
    assert escrow.hungry
    assert fill(escrow) == [100, 100_000]
    assert take(escrow, "r1", 30)
    assert "r1" in escrow


def test_all_or_nothing(escrow: Escrow) -> None:
    """A claim that one slice does not cover takes nothing from the others."""
    take(escrow, "r", 60)
    asked = escrow.draws("e", NOW)
    escrow.drawn(asked[0][0], asked[0][1], NOW)
    escrow.drawn(asked[1][0], 0, NOW)
    assert not take(escrow, "r", 60)
    assert escrow._slices[f"{TOKENS.name}:{int(NOW)}"][0].held == 0


def test_a_claim_larger_than_a_slice_is_never_wanted(escrow: Escrow) -> None:
    """It goes to Redis, and no slice is drawn for it."""
    assert not take(escrow, "r", 101)
    assert not escrow.hungry


def test_a_slice_is_settled_at_what_was_spent_when_it_is_old(escrow: Escrow) -> None:
    """Not before its last claim has ended, and exactly."""
    take(escrow, "r", 30)
    fill(escrow)
    take(escrow, "r", 30)
    take(escrow, "s", 20)
    assert escrow.settle("r", Charge(11, 700), "e", NOW)
    assert not list(escrow.ended("e", NOW + 9))
    escrow.settle("s", Charge(7, 300), "e", NOW)
    assert list(escrow.ended("e", NOW + 9)) == [("w/1", Charge(18, 0)), ("w/2", Charge(1000, 0))]
    assert not list(escrow.ended("e", NOW + 9))


def test_what_a_claim_leaves_is_used_again(escrow: Escrow) -> None:
    """The rest goes back into the slice."""
    take(escrow, "r0", 90)
    fill(escrow)
    for index in range(10):
        assert take(escrow, f"r{index}", 90)
        escrow.settle(f"r{index}", Charge(1, 100), "e", NOW)
    assert not take(escrow, "r", 91)


def test_refills_never_exceed_the_share(escrow: Escrow) -> None:
    """Outstanding slices of one budget, unsettled ones included, are at most limit / (50 × workers)."""
    take(escrow, "r", 60)
    fill(escrow)
    take(escrow, "r", 60)
    assert not take(escrow, "s", 60)
    assert fill(escrow) == []
    escrow.settle("r", Charge(60, 6000), "e", NOW)
    assert not take(escrow, "s", 60)
    assert fill(escrow) == [60]
    assert take(escrow, "s", 60)


def test_an_old_slice_takes_no_claims(escrow: Escrow) -> None:
    """Nine tenths of its time it does; a claim may be sent in the last tenth."""
    take(escrow, "r", 30)
    fill(escrow)
    claim = Claim("r", BOTH, Charge(30, 3000))
    assert escrow.take(claim, rows(BOTH, NOW + 8.9), "e", NOW + 8.9) == NOW + 10
    assert not take(escrow, "s", 30, NOW + 9)


def test_slices_of_another_window_limit_or_epoch_are_not_used(escrow: Escrow) -> None:
    """After midnight, after the limit was changed, after the state was rebuilt."""
    take(escrow, "r", 30)
    fill(escrow)
    changed = Allowances((Budget(TOKENS.scope, TOKENS.window, TOKENS.unit, 9_000), MONEY))
    assert not take(escrow, "s", 30, several=changed)
    assert not take(escrow, "s", 30, epoch="f")
    assert take(escrow, "s", 30)
    assert escrow.settle("s", Charge(1, 1), "f", NOW) is False
    assert not list(escrow.ended("f", NOW + 9))
    midnight = NOW + 86400
    escrow = Escrow("w", 2, 10)
    take(escrow, "r", 30, midnight - 1)
    fill(escrow, midnight - 1)
    assert take(escrow, "r", 30, midnight - 1)
    assert not take(escrow, "s", 30, midnight)


def test_a_starved_budget_is_asked_for_again_later(escrow: Escrow) -> None:
    """Not with every request: less than a tenth is left, so there is nothing to draw."""
    take(escrow, "r", 30)
    for one, _ in escrow.draws("e", NOW):
        escrow.drawn(one, 0, NOW)
    take(escrow, "r", 30, NOW + 0.5)
    assert not escrow.hungry
    take(escrow, "r", 30, NOW + 1)
    assert escrow.hungry


def test_limits_are_held_in_slices_too(escrow: Escrow) -> None:
    """A place is free again after its request; a request is spent."""
    scope = Scope(ScopeKind.TENANT, "t")
    several = Allowances((), (Limit(scope, Measure.CONCURRENT, 200), Limit(scope, Measure.REQUESTS, 300)))
    take(escrow, "a", 0, several=several)
    assert fill(escrow) == [2, 3]
    for index in range(3):
        assert take(escrow, f"a{index}", 0, several=several)
        escrow.settle(f"a{index}", Charge(0, 0), "e", NOW)
    assert not take(escrow, "b", 0, several=several)
    assert dict(escrow.ended("e", NOW + 9)) == {"w/1": Charge(0, 0), "w/2": Charge(3, 0)}


def test_what_ends_after_its_slice_is_told_to_redis(escrow: Escrow) -> None:
    """Somebody may have rebuilt the state meanwhile, with the reservation in it, and this worker may not know."""
    take(escrow, "r", 30)
    fill(escrow)
    for name in ("soon", "late"):
        assert take(escrow, name, 20)
    assert escrow.settle("soon", Charge(5, 5), "e", NOW + 9.9) is True
    assert escrow.settle("late", Charge(5, 5), "e", NOW + 10.0) is False
