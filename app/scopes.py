"""From the configuration: which budgets and limits hold for a request of this key for this model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

from app import config
from app.config import Config
from app.config.tenancy import Budget as Setting
from app.metering import (
    Allowances,
    Budget,
    Limit,
    Measure,
    OnFailure,
    OnOverBudget,
    Policy,
    Scope,
    ScopeKind,
    Unit,
    Window,
    key_scope,
)  # fmt: skip
from app.people import NOBODY, People

NANO = 10**9
"""Nano-USD in a dollar."""
SHOWN = 500
"""Budgets that stand in metrics at most: everything, models, then tenants and their keys, first those of the file."""
KEPT = 100_000
"""Terms that are kept at most; past it all are dropped, and made again as they are asked for."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request is held to: `admit` before anything is spent on it, `reserve` before it is sent.

    Where no guard looks at prompts nothing is spent in between: then `reserve` holds everything, and one operation of
    the store takes it.
    """

    admit: Allowances
    reserve: Allowances
    policy: Policy
    free: bool
    """Whether nothing limits it."""


class Scopes:
    """The terms of every tenant, key and model, each made when it is asked for first, and kept.

    Stores keep what they worked out for them. Made anew with each routing table; `people` are the tenants and keys
    beside it, which come, change and go meanwhile. Where the file names one too, the file holds.
    """

    def __init__(self, settings: Config, people: People = NOBODY) -> None:
        self._people = people
        self._everything = _budgets(Scope(ScopeKind.EVERYTHING), settings.budgets)
        self._models = {one.name: _budgets(Scope(ScopeKind.MODEL, one.name), one.budgets) for one in settings.models}
        self._tenants = {one.name: one for one in settings.tenants}
        self._keys = {(one.name, key.name): key.budgets for one in settings.tenants for key in one.keys}
        self._guarded = {one.name for one in settings.models if one.guard is not None}
        self._terms: dict[tuple[str, str, str], Terms] = {}
        self._common: dict[tuple[str, str], Terms] = {}
        self._admit: dict[str, Allowances] = {}
        self._copies = [budget for one in settings.models for budget in shadow_budgets(one)]
        self._own = self._of_file()
        self._free = not self._own and not any(map(_has_limits, settings.tenants))
        self._patient = any(one.on_store_failure == "local_slice" for one in settings.tenants)
        self._every: Allowances | None = None
        self._shown: Allowances | None = None
        self._changes = people.changes

    @property
    def nothing(self) -> bool:
        """Whether nothing limits any request."""
        return self._free and not self._people.limited

    @property
    def always(self) -> bool:
        """Whether every request draws on a budget, and none goes on without the store."""
        return bool(self._everything) and not self._patient and not self._people.patient

    @property
    def every(self) -> Allowances:
        """Every budget that there is."""
        self._look()
        if self._every is None:
            self._every = Allowances((*self._own, *self._of_people(), *self._copies))
        return self._every

    @property
    def shown(self) -> Allowances:
        """Those that stand in metrics."""
        self._look()
        if self._shown is None:
            found = chain(self._own, self._of_people(), self._copies)
            self._shown = Allowances(tuple(islice(found, SHOWN)))
        return self._shown

    def of(self, tenant: str, key: str, model: str) -> Terms:
        """What holds for a request; budgets of names that are not configured are those of everything alone."""
        self._look()
        terms = self._terms.get((tenant, key, model))
        if terms is None:
            terms = self._find(tenant, key, model)
            if model in self._models:  # never for a name that a caller invented; tenant and key are authenticated
                if len(self._terms) >= KEPT:
                    self._terms.clear()
                self._terms[tenant, key, model] = terms
        return terms

    def _look(self) -> None:
        """Forget what was worked out before somebody's settings changed."""
        if self._changes == self._people.changes:
            return
        self._changes = self._people.changes
        self._every = self._shown = None
        self._terms, self._common, self._admit = {}, {}, {}

    def _of_file(self) -> list[Budget]:
        found = [*self._everything, *(budget for several in self._models.values() for budget in several)]
        for tenant in self._tenants.values():
            found += _of_tenant(tenant)
            for key in tenant.keys:
                found += _budgets(key_scope(tenant.name, key.name), key.budgets)
        return found

    def _of_people(self) -> Iterator[Budget]:
        for name, settings, keys in self._people.budgeted():
            if settings is not None and name not in self._tenants:
                yield from _of_tenant(settings)
            for key, budgets in keys.items():
                if (name, key) not in self._keys:
                    yield from _budgets(key_scope(name, key), budgets)

    def _find(self, tenant: str, key: str, model: str) -> Terms:
        """The same terms for all keys of a tenant without budgets of their own, where the tenant is known."""
        budgets = self._keys.get((tenant, key))
        own = self._people.budgets(tenant, key) if budgets is None else budgets
        if own or model not in self._models:
            return self._make(tenant, key, model, own)
        one = self._common.get((tenant, model))
        if one is None:
            if len(self._common) >= KEPT:
                self._common.clear()
            one = self._common[tenant, model] = self._make(tenant, key, model, ())
        return one

    def _make(self, tenant: str, key: str, model: str, own: tuple[Setting, ...]) -> Terms:
        several = (*_budgets(key_scope(tenant, key), own), *self._everything, *self._models.get(model, ()))
        one = self._tenants.get(tenant) or self._people.settings(tenant)
        if one is None:
            return _terms(_NONE, Allowances(several), Policy())
        budgets = (*_of_tenant(one), *several)
        policy = Policy(OnOverBudget(one.on_over_budget), one.clamp_floor, OnFailure(one.on_store_failure))
        if model in self._guarded:
            admit = self._admit.get(tenant)
            if admit is None:
                admit = self._admit[tenant] = Allowances((), tuple(_rates(one)))
            return _terms(admit, Allowances(budgets, tuple(_tokens(one))), policy)
        return _terms(_NONE, Allowances(budgets, (*_rates(one), *_tokens(one))), policy)


_NONE = Allowances()


def _terms(admit: Allowances, reserve: Allowances, policy: Policy) -> Terms:
    return Terms(admit, reserve, policy, not reserve)


def _has_limits(one: config.Tenant) -> bool:
    return bool(one.limits.model_dump(exclude_none=True))


def _of_tenant(one: config.Tenant) -> tuple[Budget, ...]:
    return _budgets(Scope(ScopeKind.TENANT, one.name), one.budgets)


def _budgets(scope: Scope, several: Iterable[Setting]) -> tuple[Budget, ...]:
    found = []
    for one in several:
        if one.tokens is not None:
            found.append(Budget(scope, Window(one.window), Unit.TOKENS, one.tokens))
        if one.usd is not None:
            found.append(Budget(scope, Window(one.window), Unit.MONEY, int(one.usd * NANO)))
    return tuple(found)


def _rates(one: config.Tenant) -> Iterator[Limit]:
    scope = Scope(ScopeKind.TENANT, one.name)
    if one.limits.concurrent is not None:
        yield Limit(scope, Measure.CONCURRENT, one.limits.concurrent)
    if one.limits.requests_per_minute is not None:
        yield Limit(scope, Measure.REQUESTS, one.limits.requests_per_minute)


def _tokens(one: config.Tenant) -> Iterator[Limit]:
    if one.limits.tokens_per_minute is not None:
        yield Limit(Scope(ScopeKind.TENANT, one.name), Measure.TOKENS, one.limits.tokens_per_minute)


def shadow_budgets(one: config.Model) -> tuple[Budget, ...]:
    """What copies of a model's requests may cost."""
    return _budgets(Scope(ScopeKind.SHADOW, one.name), (one.shadow.budget,)) if one.shadow is not None else ()
