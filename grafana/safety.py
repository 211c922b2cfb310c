"""Safety: what guards find, what they do about it, and what it costs callers in time."""

from __future__ import annotations

from grafana.parts import MODEL, TENANT, Board, Panel, Query, Row, quantiles

_IN = 'model=~"$model", tenant=~"$tenant"'
_CALLED = f'sum(rate(sluicegate_requests_total{{{_IN}, outcome!~"refused_(auth|invalid)"}}[$__rate_interval]))'

HITS = Row(
    "What is found",
    (
        Panel(
            "Hits by category and stage", "Everything that a detector found, whatever was done. A category that jumps: one"
            " tenant (below), or an attack; read the flagged requests in your own application.",
            "suffix: hits/s", (Query("sum by (stage, category) (rate(sluicegate_guard_hits_total[$__rate_interval]))", "{{stage}} {{category}}"),),
            width=12, stacked=True,
        ),
        Panel(
            "Hits by action", "What came of them: block, redact, annotate, log. Only log: the guard watches and does nothing.",
            "suffix: hits/s", (Query("sum by (action) (rate(sluicegate_guard_hits_total[$__rate_interval]))", "{{action}}"),),
            width=12, stacked=True,
        ),
        Panel(
            "Prompts refused", "Share of requests whose prompt a guard blocked, by tenant. High for one tenant: its users, or a"
            " threshold that does not fit its subject.",
            "percentunit",
            (Query(f'sum by (tenant) (rate(sluicegate_requests_total{{{_IN}, outcome="refused_guard"}}[$__rate_interval])) / sum by (tenant) (rate(sluicegate_requests_total{{{_IN}}}[$__rate_interval]))', "{{tenant}}"),),
            width=12,
        ),
        Panel(
            "Completions cut", "Share of requests whose answer a guard stopped, by model. High: the model says what it should"
            " not; compare arms in Models & rollouts.",
            "percentunit",
            (Query(f'sum by (model) (rate(sluicegate_requests_total{{{_IN}, outcome="cut_guard"}}[$__rate_interval])) / sum by (model) (rate(sluicegate_requests_total{{{_IN}, outcome!~"refused_.*"}}[$__rate_interval]))', "{{model}}"),),
            width=12,
        ),
    ),
)  # fmt: skip

TIME = Row(
    "What it costs",
    (
        Panel(
            "Hold-back", "The longest that text of an answer was held back before the caller got it. High: model-based"
            " detectors are slow, or hold_chars is large.",
            "s", quantiles("sluicegate_guard_hold_seconds", ""),
        ),
        Panel(
            "Time per stage", "Mean time of the gateway itself in each stage of the path; the guards' are among them. A guard"
            " that grows with load: give the detectors more threads, or use fewer.",
            "s",
            (Query("sum by (stage) (rate(sluicegate_overhead_seconds_sum[$__rate_interval])) / sum by (stage) (rate(sluicegate_overhead_seconds_count[$__rate_interval]))", "{{stage}}"),),
        ),
        Panel(
            "Detectors without a verdict", "By detector and reason. Above zero, on_error and on_timeout decide: closed guards"
            " refuse traffic, open ones let everything pass.",
            "suffix: failures/s",
            (Query("sum by (detector, reason) (rate(sluicegate_guard_failures_total[$__rate_interval]))", "{{detector}} {{reason}}"),),
            bad=0.001,
        ),
        Panel(
            "Requests that guards could see", "For scale: requests that got past authentication and validation.",
            "reqps", (Query(_CALLED, "requests"),), "stat", 24, 4,
        ),
    ),
)  # fmt: skip

BOARD = Board(
    "sluicegate-safety",
    "Sluicegate / Safety",
    "What guards find, what they do about it, and what it costs.",
    (MODEL, TENANT),
    (HITS, TIME),
)
