"""From the configuration: which budgets and limits hold for a request of this key for this model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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

NANO = 10**9
"""Nano-USD in a dollar."""
SHOWN = 500
"""Budgets that stand in metrics at most: everything, models, then tenants and their keys in the file's order."""


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
    """The terms of every tenant, key and model, each made once: stores keep what they worked out for them.

    Part of a routing table: made anew with it, and never changed.
    """

    def __init__(self, settings: Config) -> None:
        self._everything = _budgets(Scope(ScopeKind.EVERYTHING), settings.budgets)
        self._models = {one.name: _budgets(Scope(ScopeKind.MODEL, one.name), one.budgets) for one in settings.models}
        self._tenants = {one.name: one for one in settings.tenants}
        self._guarded = {one.name for one in settings.models if one.guard is not None}
        self._terms: dict[tuple[str, str, str], Terms] = {}
        self._admit = {one.name: Allowances((), tuple(_rates(one))) for one in settings.tenants}
        copies = [budget for one in settings.models for budget in shadow_budgets(one)]
        self.every = Allowances((*self._budgets(), *copies))
        """Every budget that is configured."""
        self.nothing = len(self.every) == len(copies) and not any(map(_has_limits, settings.tenants))
        """Whether nothing limits any request."""
        self.shown = Allowances(self.every.budgets[:SHOWN])
        """Those that stand in metrics."""
        patient = any(one.on_store_failure == "local_slice" for one in settings.tenants)
        self.always = bool(self._everything) and not patient
        """Whether every request draws on a budget, and none goes on without the store."""

    def of(self, tenant: str, key: str, model: str) -> Terms:
        """What holds for a request; budgets of names that are not configured are those of everything alone."""
        terms = self._terms.get((tenant, key, model))
        if terms is None:
            terms = self._make(tenant, key, model)
            if model in self._models:  # never for a name that a caller invented; tenant and key are authenticated
                self._terms[tenant, key, model] = terms
        return terms

    def _budgets(self) -> list[Budget]:
        found = [*self._everything, *(budget for several in self._models.values() for budget in several)]
        for tenant in self._tenants.values():
            found += _of_tenant(tenant)
            for key in tenant.keys:
                found += _budgets(key_scope(tenant.name, key.name), key.budgets)
        return found

    def _make(self, tenant: str, key: str, model: str) -> Terms:
        several = (*self._everything, *self._models.get(model, ()))
        one = self._tenants.get(tenant)
        if one is None:
            return _terms(_NONE, Allowances(several), Policy())
        keys = [known.budgets for known in one.keys if known.name == key]
        budgets = (*(_budgets(key_scope(tenant, key), keys[0]) if keys else ()), *_of_tenant(one), *several)
        policy = Policy(OnOverBudget(one.on_over_budget), one.clamp_floor, OnFailure(one.on_store_failure))
        if model in self._guarded:
            return _terms(self._admit[tenant], Allowances(budgets, tuple(_tokens(one))), policy)
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
