"""Stored tenants and keys in memory: whatever comes, changes and goes, what is left is what was said last."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.config import Tenant
from app.config.tenancy import Budget
from app.exchange import Principal
from app.people import FOUND_BY, People, StoredKey

BUDGETS = (Budget(window="day", tokens=5),)
SETTINGS = (
    None,
    Tenant(name="x", budgets=BUDGETS),
    Tenant(name="x", limits={"concurrent": 3}),  # type: ignore[arg-type]  # pydantic makes it
    Tenant(name="x", on_store_failure="local_slice"),
    Tenant(name="x", allow_shadow=False),
)
NAMES = st.sampled_from(["a", "b", "c"])


def stored(tenant: str, name: str, number: int, budgets: tuple[Budget, ...] = (), *, live: bool = True) -> StoredKey:
    """The key of that name with the secret of that number."""
    digest = hashlib.sha256(f"{tenant}/{name}/{number}".encode()).digest()
    return StoredKey(Principal(tenant, name), digest, budgets, live)


@dataclass
class Said:
    """The plain account: settings by tenant; the secret's number and the budgets by key."""

    settings: dict[str, Tenant | None] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[int, tuple[Budget, ...]]] = field(default_factory=dict)

    def check(self, people: People) -> None:
        """Everything that can be asked is as it was said."""
        digests = {stored(*name, number).digest: name for name, (number, _) in self.keys.items()}
        assert {half + rest: (one.tenant, one.key) for half, (rest, one) in people.keys.items()} == digests
        limited = {name for name, one in self.settings.items() if one in SETTINGS[1:3]}
        limited |= {tenant for (tenant, _), (_, budgets) in self.keys.items() if budgets}
        assert people.limited == limited
        assert people.patient == {name for name, one in self.settings.items() if one is SETTINGS[3]}
        for (tenant, key), (_, budgets) in self.keys.items():
            assert people.budgets(tenant, key) == budgets
            assert people.shadow(tenant) is not None
        for name, one in self.settings.items():
            assert people.settings(name) is one
            assert people.shadow(name) is (one is not SETTINGS[4])
        told = {(name, key): budgets for name, _, keys in people.budgeted() for key, budgets in keys.items()}
        assert told == {name: budgets for name, (_, budgets) in self.keys.items() if budgets}


CHANGE = st.one_of(
    st.tuples(st.just("tenant"), NAMES, st.sampled_from(SETTINGS)),
    st.tuples(st.just("key"), NAMES, NAMES, st.sampled_from([(), BUDGETS])),
    st.tuples(st.just("revoke"), NAMES, NAMES),
    st.tuples(st.just("everything")),
)


@given(st.lists(CHANGE, max_size=25))
def test_what_was_said_last_holds(changes: list[tuple[Any, ...]]) -> None:
    """Keys are made, changed, rotated and revoked, tenants changed; everything is read again in between."""
    people, said = People(), Said()
    for number, (what, *of) in enumerate(changes):
        before = people.changes
        if what == "tenant":
            name, settings = of
            people.put_tenant(name, settings)
            said.settings[name] = settings
        elif what == "key":
            tenant, key, budgets = of
            rows = [stored(tenant, key, number, budgets)]
            if (tenant, key) in said.keys:  # the order of the rows is the database's
                rows.append(stored(tenant, key, said.keys[tenant, key][0], live=False))
            people.put_keys(rows)
            said.keys[tenant, key] = number, budgets
        elif what == "revoke" and tuple(of) in said.keys:
            tenant, key = of
            people.put_keys([stored(tenant, key, said.keys.pop((tenant, key))[0], live=False)])
        elif what == "everything":
            again = People()
            for name, one in said.settings.items():
                again.put_tenant(name, one)
            again.put_keys([stored(*name, digest, budgets) for name, (digest, budgets) in said.keys.items()])
            people.become(again)
        assert people.changes >= before
        said.check(people)


def test_keys_without_budgets_change_nothing_that_others_are_held_to() -> None:
    """What was worked out for everybody stays worked out while keys come and go."""
    people = People()
    people.put_tenant("a", SETTINGS[1])
    before = people.changes
    people.put_keys([stored("a", "k", 1), stored("new", "k", 1)])
    people.put_keys([stored("a", "k", 1, live=False)])
    assert people.changes == before
    assert len(people) == 2
    people.put_keys([stored("a", "own", 1, BUDGETS)])
    assert people.changes > before


def test_only_the_halves_of_digests_are_kept() -> None:
    """Found by the first, told apart by the second."""
    people, one = People(), stored("a", "k", 1)
    people.put_keys([one])
    assert people.keys == {one.digest[:FOUND_BY]: (one.digest[FOUND_BY:], one.principal)}


def test_a_tenant_that_cannot_be_read_is_not_held() -> None:
    """Its keys are known, and hold once it can be read."""
    people = People()
    people.put_tenant("a", SETTINGS[1])
    people.put_keys([stored("a", "k", 1)])
    people.leave_out("a")
    assert (people.shadow("a"), people.limited) == (None, set())
    people.put_keys([stored("a", "own", 1, BUDGETS)])
    assert (people.shadow("a"), people.limited) == (None, set())
    people.put_keys([stored("a", "own", 1, live=False)])
    other = People()
    other.leave_out("a")
    people.become(other)
    assert people.shadow("a") is None
    people.put_tenant("a", None)
    assert people.shadow("a")
    assert people.shadow("nobody") is None
