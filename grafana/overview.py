"""Is it well? Rate, errors, duration, tokens, money, and how fast the error budget burns."""

from __future__ import annotations

from grafana.parts import DEPLOYMENT, MODEL, TENANT, Board, Panel, Query, Row, quantiles

_IN = 'model=~"$model", tenant=~"$tenant", deployment=~"$deployment"'
_OF = 'model=~"$model", deployment=~"$deployment"'
_BAD = 'outcome=~"upstream_error|upstream_timeout|overloaded|internal_error"'
_RATE = f"sum(rate(sluicegate_requests_total{{{_IN}}}[$__rate_interval]))"

NOW = Row(
    "Now",
    (
        Panel(
            "Requests", "Data-plane requests a second. A sudden fall: look at Gateway health, then at who calls.",
            "reqps", (Query(_RATE, "requests"),), "stat", 4, 4,
        ),
        Panel(
            "Failing share", "Requests that ended in upstream_error, upstream_timeout, overloaded or internal_error."
            " Above 1 %: the panel by outcome says which, Models & rollouts says of which deployment.",
            "percentunit", (Query(f"sum(rate(sluicegate_requests_total{{{_IN}, {_BAD}}}[$__rate_interval])) / {_RATE}", "failing"),),
            "stat", 4, 4, bad=0.01,
        ),
        Panel(
            "First token, p95", "From arrival to the first byte on the caller's socket; streams. High: compare with the"
            " upstream's own first chunk below. If both are high the engine is slow (vLLM engines), else the gateway is.",
            "s", (quantiles("sluicegate_time_to_first_token_seconds", _OF)[1],), "stat", 4, 4, bad=2.5,
        ),
        Panel(
            "Output tokens", "Tokens made a second. Falls while requests do not: answers got shorter, or are cut.",
            "suffix: tok/s",
            (Query('sum(rate(gen_ai_client_token_usage_sum{gen_ai_token_type="output", gen_ai_request_model=~"$model", deployment=~"$deployment"}[$__rate_interval]))', "output"),),
            "stat", 4, 4,
        ),
        Panel(
            "Cost per hour", "At the present rate, from the configured prices. Doubles without traffic: Cost & budgets"
            " shows whose it is.",
            "currencyUSD", (Query(f"sum(rate(sluicegate_cost_usd_total{{{_IN}}}[$__rate_interval])) * 3600", "cost"),),
            "stat", 4, 4,
        ),
        Panel(
            "Budget burn, 1 h", "How many times faster than allowed the error budget of the SLO (99.5 % well served)"
            " burns. Above 14 for an hour: two per cent of a month's budget is gone; an alert fires.",
            "none", (Query('max(sluicegate:slo_errors:burn1h{model=~"$model"})', "burn"),), "stat", 4, 4, bad=14.4,
        ),
    ),
)  # fmt: skip

TRAFFIC = Row(
    "Traffic and errors",
    (
        Panel(
            "Requests by outcome", "Every request has exactly one outcome. refused_* is the callers' business; upstream_* is"
            " the engine's or the provider's; overloaded means that max_in_flight is reached: add workers or pods.",
            "reqps", (Query(f"sum by (outcome) (rate(sluicegate_requests_total{{{_IN}}}[$__rate_interval]))", "{{outcome}}"),),
            width=12, stacked=True,
        ),
        Panel(
            "Requests by model", "Who is asked for. `-` is a name that no configuration knows.",
            "reqps", (Query(f"sum by (model) (rate(sluicegate_requests_total{{{_IN}}}[$__rate_interval]))", "{{model}}"),),
            width=12, stacked=True,
        ),
        Panel(
            "Upstream attempts by result", "What deployments answered, retries and fallbacks included. `connect` and `5xx`"
            " are failures; more attempts than requests means retries.",
            "reqps", (Query('sum by (result) (rate(sluicegate_upstream_attempts_total{deployment=~"$deployment"}[$__rate_interval]))', "{{result}}"),),
            width=12,
        ),
        Panel(
            "Burn of the error budget", "The same SLO over five minutes, an hour and six hours. A spike in the short"
            " window alone is over already; all three high is an incident.",
            "none",
            (
                Query('max by (model) (sluicegate:slo_errors:burn5m{model=~"$model"})', "5 m {{model}}"),
                Query('max by (model) (sluicegate:slo_errors:burn1h{model=~"$model"})', "1 h {{model}}"),
                Query('max by (model) (sluicegate:slo_errors:burn6h{model=~"$model"})', "6 h {{model}}"),
            ),
            width=12, bad=14.4,
        ),
    ),
)  # fmt: skip

TIME = Row(
    "Time",
    (
        Panel(
            "Request duration", "From arrival to the last byte. Long answers are long: compare with tokens per request."
            " Dots are traced requests and lead to their traces.",
            "s", quantiles("sluicegate_request_duration_seconds", _OF), exemplars=True,
        ),
        Panel(
            "Time to first token", "As the caller gets it, streams. High at p99 only: queueing in the engine (vLLM"
            " engines, waiting). Dots lead to traces.",
            "s", quantiles("sluicegate_time_to_first_token_seconds", _OF), exemplars=True, bad=2.5,
        ),
        Panel(
            "Time per output token", "Between pieces, per token after the first: what reading feels like. High: the"
            " engine's batch is too large or it preempts.",
            "s", quantiles("sluicegate_time_per_output_token_seconds", _OF),
        ),
    ),
)  # fmt: skip

USE = Row(
    "Use",
    (
        Panel(
            "Tokens", "Input and output tokens a second, as charged. Input grows alone: prompts got longer.",
            "suffix: tok/s",
            (Query('sum by (gen_ai_token_type) (rate(gen_ai_client_token_usage_sum{gen_ai_request_model=~"$model", deployment=~"$deployment"}[$__rate_interval]))', "{{gen_ai_token_type}}"),), width=6,
        ),
        Panel(
            "Too long for the model", "Requests that did not fit the context window, by what was done. `reject` that grows: prompts"
            " got longer; another `token_limit`, or a model with a larger window.",
            "reqps", (Query('sum by (model, action) (rate(sluicegate_fit_total{model=~"$model"}[$__rate_interval]))', "{{model}} {{action}}"),), width=6,
        ),
        Panel(
            "Cost per hour by deployment", "Where the money goes. A fallback that is dearer than the deployment it stands in"
            " for shows here first.",
            "currencyUSD", (Query(f"sum by (deployment) (rate(sluicegate_cost_usd_total{{{_IN}}}[$__rate_interval])) * 3600", "{{deployment}}"),),
            width=6, stacked=True,
        ),
        Panel(
            "In flight", "Requests that a deployment is serving now. Grows and does not fall: it has stopped answering;"
            " the timeouts will end them, look at vLLM engines.",
            "short", (Query('sum by (deployment) (sluicegate_in_flight{deployment=~"$deployment"})', "{{deployment}}"),), width=6,
        ),
    ),
)  # fmt: skip

BOARD = Board(
    "sluicegate-overview",
    "Sluicegate / Overview",
    "Is it well? Begin here; the other boards say why not.",
    (MODEL, TENANT, DEPLOYMENT),
    (NOW, TRAFFIC, TIME, USE),
)
