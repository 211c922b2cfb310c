"""Cost and budgets: who spends what, and whether it will be enough until the window ends."""

from __future__ import annotations

from grafana.parts import DEPLOYMENT, MODEL, TENANT, Board, Panel, Query, Row

_IN = 'model=~"$model", tenant=~"$tenant", deployment=~"$deployment"'
_COST = f"sluicegate_cost_usd_total{{{_IN}}}"

SPENT = Row(
    "Spent",
    (
        Panel(
            "Cost per hour", "At the present rate, over what is chosen above. Far from usual: by tenant and by model below say whose it is.",
            "currencyUSD", (Query(f"sum(rate({_COST}[$__rate_interval])) * 3600", "cost"),), "stat", 6, 5,
        ),
        Panel(
            "Cost in 24 hours", "What was charged in the last day, from the metrics. The bill is the ledger:"
            " `sluicegate usage`.",
            "currencyUSD", (Query(f"sum(increase({_COST}[24h]))", "cost"),), "stat", 6, 5,
        ),
        Panel(
            "Cost per 1 000 requests", "Rises without a price change: prompts or answers got longer, or a dearer"
            " deployment serves.",
            "currencyUSD",
            (Query(f'1000 * sum(rate({_COST}[$__rate_interval])) / sum(rate(sluicegate_requests_total{{{_IN}, outcome="ok"}}[$__rate_interval]))', "cost"),),
            "stat", 6, 5,
        ),
        Panel(
            "Refused for lack of budget", "Requests a second that no budget had room for. Above zero: see the budgets below.",
            "reqps", (Query('sum by (tenant) (rate(sluicegate_requests_total{tenant=~"$tenant", outcome="refused_budget"}[$__rate_interval]))', "{{tenant}}"),),
            "stat", 6, 5, bad=0.001,
        ),
        Panel(
            "Cost per hour by tenant", "Who spends. One that jumps: ask them, or lower its limits.",
            "currencyUSD", (Query(f"sum by (tenant) (rate({_COST}[$__rate_interval])) * 3600", "{{tenant}}"),),
            width=12, stacked=True,
        ),
        Panel(
            "Cost per hour by model and deployment", "On what it is spent. A fallback or candidate that grows dearer than stable shows here first.",
            "currencyUSD",
            (Query(f"sum by (model, deployment, arm) (rate({_COST}[$__rate_interval])) * 3600", "{{model}} {{deployment}} {{arm}}"),),
            width=12, stacked=True,
        ),
        Panel(
            "Cost in 24 hours by tenant and model", "For the conversation about it. Tenants beyond telemetry.metrics_tenants"
            " are `other`.",
            "currencyUSD", (Query(f"sum by (tenant, model) (increase({_COST}[24h]))", "{{tenant}} {{model}}"),), "table", 12,
        ),
        Panel(
            "Cached input", "Share of the engine's prompt tokens that came from its prefix cache. Low where prompts begin"
            " alike: replicas are chosen without regard to it.",
            "percentunit",
            (Query("sum by (deployment) (rate(sluicegate_vllm_prefix_cache_hits_total[$__rate_interval])) / sum by (deployment) (rate(sluicegate_vllm_prefix_cache_queries_total[$__rate_interval]))", "{{deployment}}"),),
            width=12,
        ),
    ),
)  # fmt: skip


def _of_unit(metric: str, unit: str) -> str:
    return f'max by (scope, window) (sluicegate_budget_{metric}{{unit="{unit}"}})'


def _forecast(window: str, seconds_left: str) -> Query:
    """Share of a budget that is used at its window's end if the last half hour goes on."""
    used, limit = (f'sluicegate_budget_{name}{{window="{window}"}}' for name in ("used", "limit"))
    grown = f"clamp_min(deriv({used}[30m]), 0) * ({seconds_left})"
    return Query(f"max by (scope, window, unit) (({used} + {grown}) / ({limit} > 0))", _BUDGET)


_BUDGET = "{{scope}} {{window}} {{unit}}"
_SCOPE = "{{scope}} {{window}}"
_OF_DAY = "86400 - time() % 86400"
_OF_MONTH = f"scalar(days_in_month() - day_of_month()) * 86400 + {_OF_DAY}"

BUDGETS = Row(
    "Budgets",
    (
        Panel(
            "Used share", "Used and reserved, of what each budget allows in its window. At 80 % an alert warns, at 95 % it"
            " asks to act: raise the budget, or tell the tenant.",
            "percentunit",
            (Query("max by (scope, window, unit) ((sluicegate_budget_used + sluicegate_budget_reserved) / (sluicegate_budget_limit > 0))", _BUDGET),),
            "bars", 12, bad=0.8, most=1,
        ),
        Panel(
            "At the window's end, at this pace", "Share of day and month budgets (UTC) that will be used when their window ends,"
            " if the last half hour goes on. Above 1: it will not last; raise it, or speak to the tenant.",
            "percentunit", (_forecast("day", _OF_DAY), _forecast("month", _OF_MONTH)), width=12, bad=1, most=2,
        ),
        Panel(
            "Reserved tokens", "Held for requests under way: upper bounds, given back when they end. Large beside the limit:"
            " callers ask for far longer answers than they get; tell them about max_tokens.",
            "short", (Query(_of_unit("reserved", "tokens"), _SCOPE),),
        ),
        Panel(
            "Reserved money", "The same in US dollars, at the dearest deployment that each request may reach. Grows without"
            " traffic: a dear fallback was added.",
            "currencyUSD", (Query(_of_unit("reserved", "money"), _SCOPE),),
        ),
        Panel(
            "Beyond the bound", "Tokens a second that upstreams report beyond what was reserved for them. Above zero: check the"
            " deployment's max_output_tokens; the money is in `sluicegate usage`.",
            "suffix: tok/s", (Query("sum by (deployment) (rate(sluicegate_overage_tokens_total[$__rate_interval]))", "{{deployment}}"),), bad=0.001,
        ),
        Panel(
            "Limits in tokens", "What each budget allows. It falls: somebody changed the configuration or used the admin API;"
            " the audit says who.",
            "short", (Query(_of_unit("limit", "tokens"), _SCOPE),), "table",
        ),
        Panel(
            "Limits in money", "The same for budgets of money. It falls: see the audit.",
            "currencyUSD", (Query(_of_unit("limit", "money"), _SCOPE),), "table",
        ),
        Panel(
            "Cost beyond the bound, 24 hours", "What that came to in a day, in US dollars. It is charged; a budget may be over"
            " its limit by as much.",
            "currencyUSD", (Query("sum by (deployment) (increase(sluicegate_overage_usd_total[24h]))", "{{deployment}}"),), "table",
        ),
    ),
)  # fmt: skip

BOARD = Board(
    "sluicegate-costs",
    "Sluicegate / Cost & budgets",
    "Who spends what, and whether it will be enough.",
    (MODEL, TENANT, DEPLOYMENT),
    (SPENT, BUDGETS),
)
