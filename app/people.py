"""Tenants and keys that the database holds, as requests look them up.

There may be a hundred thousand tenants and a million keys, and any of them may change at any time. So they are no part
of what a routing table is built from: they stand beside it, and change in place, one by one. A request looks here once
while it is authenticated, and once for what it is held to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Final, NamedTuple

from app.config import Tenant
from app.config.tenancy import Budget
from app.exchange import Principal

FOUND_BY: Final = 16
"""Bytes of a key's digest by which it is found; the rest is compared."""


class StoredKey(NamedTuple):
    """A key as the database has it: whose it is, the SHA-256 of its secret, its own budgets; whether it works."""

    principal: Principal
    digest: bytes
    budgets: tuple[Budget, ...] = ()
    live: bool = True


class _Known(NamedTuple):
    """What holds for a tenant: its settings without keys, None for the usual ones; whether it may be served.

    `shadow` is told apart: it is asked for with every request.
    """

    settings: Tenant | None
    held: bool
    shadow: bool


_USUAL: Final = Tenant(name="usual")
_PLAIN: Final = _Known(None, held=True, shadow=_USUAL.allow_shadow)


Countable = Callable[[str, bool, bool], bool]
"""Whether a tenant can be served in this process that has budgets, and limits or budgets: name, the two facts."""


class People:
    """Those that are stored, but for tenants that are not `countable`: what they are held to could not be counted here.

    `changes` grows with every change of what anybody is held to; keys that come and go without budgets are none.
    """

    __slots__ = ("_budgets", "_countable", "_tenants", "_unread", "changes", "keys", "limited", "patient")

    def __init__(self, countable: Countable = lambda _name, _budgeted, _limited: True) -> None:
        self._countable = countable
        self.keys: dict[bytes, tuple[bytes, Principal]] = {}
        """By the first half of a key's digest, its second half and the holder."""
        self._tenants: dict[str, _Known] = {}
        self._budgets: dict[str, dict[str, tuple[Budget, ...]]] = {}
        self._unread: set[str] = set()
        self.limited: set[str] = set()
        """Tenants that are held to a budget or limit, or have a key that is."""
        self.patient: set[str] = set()
        """Tenants that go on while the limit store is away."""
        self.changes = 0

    def __len__(self) -> int:
        """How many tenants there are."""
        return len(self._tenants)

    def shadow(self, tenant: str) -> bool | None:
        """Whether a tenant's requests may be copied; None for one that is not known, or may not be served."""
        known = self._tenants.get(tenant)
        return None if known is None or not known.held else known.shadow

    def settings(self, tenant: str) -> Tenant | None:
        """A tenant's settings, without keys; None for one that has the usual ones, or is not stored."""
        known = self._tenants.get(tenant)
        return None if known is None else known.settings

    def budgets(self, tenant: str, key: str) -> tuple[Budget, ...]:
        """What a key may use by itself."""
        of_tenant = self._budgets.get(tenant)
        return () if of_tenant is None else of_tenant.get(key, ())

    def budgeted(self) -> Iterator[tuple[str, Tenant | None, dict[str, tuple[Budget, ...]]]]:
        """The tenants that are held to anything, by name: their settings, and the budgets of their keys."""
        for name in sorted(self.limited):
            yield name, self.settings(name), self._budgets.get(name, {})

    def put_tenant(self, name: str, settings: Tenant | None) -> None:
        """A tenant has these settings from now on; None for the usual ones."""
        self._unread.discard(name)
        self._weigh(name, settings)

    def leave_out(self, name: str) -> None:
        """A tenant whose settings cannot be read is not served until they can."""
        self._unread.add(name)
        self._weigh(name, None)

    def put_keys(self, keys: Sequence[StoredKey]) -> None:
        """These keys work from now on as they say, or work no more."""
        # Those first: a new secret takes the name, and the budgets, of the one before.
        for principal, digest, budgets, live in sorted(keys, key=_lives):
            if not live:
                self._drop(digest, principal)
                continue
            tenant = principal.tenant
            if tenant not in self._tenants:
                self._tenants[tenant] = _PLAIN
            self.keys[digest[:FOUND_BY]] = digest[FOUND_BY:], principal
            if budgets or self._budgets:
                self._budget(principal, budgets)

    def become(self, other: People) -> None:
        """Take over everything from another, which nobody uses."""
        self.keys, self._tenants, self._budgets = other.keys, other._tenants, other._budgets
        self.limited, self.patient, self._unread = other.limited, other.patient, other._unread
        self.changes += 1

    def _drop(self, digest: bytes, principal: Principal) -> None:
        held = self.keys.pop(digest[:FOUND_BY], None)
        if held is not None and held[1].key in self._budgets.get(principal.tenant, {}):
            self._budget(held[1], ())

    def _budget(self, principal: Principal, budgets: tuple[Budget, ...]) -> None:
        """The key has these budgets from now on."""
        name = principal.tenant
        if budgets == self.budgets(name, principal.key):
            return
        of_tenant = self._budgets.setdefault(name, {})
        if budgets:
            of_tenant[principal.key] = budgets
        else:
            del of_tenant[principal.key]
        if not of_tenant:
            del self._budgets[name]
        self._weigh(name, self.settings(name))

    def _weigh(self, name: str, settings: Tenant | None) -> None:
        """Work out what the tenant's settings and its keys' budgets mean."""
        one = _USUAL if settings is None else settings
        budgeted = bool(one.budgets) or name in self._budgets
        limited = budgeted or one.limits != _USUAL.limits
        held = name not in self._unread and self._countable(name, budgeted, limited)
        patient = one.on_store_failure == "local_slice"
        known = _PLAIN if settings is None and held else _Known(settings, held, one.allow_shadow)
        self._note(name, known, limited=limited and held, patient=patient and held)

    def _note(self, name: str, known: _Known, *, limited: bool, patient: bool) -> None:
        self._tenants[name] = known
        for names, belongs in ((self.limited, limited), (self.patient, patient)):
            if belongs:
                names.add(name)
            else:
                names.discard(name)
        self.changes += 1


_lives = itemgetter(3)
NOBODY: Final = People()
"""Where there is no database to look into."""
