"""Models and rollouts: the arms of a model side by side, and what the controller knows."""

from __future__ import annotations

from grafana.parts import DEPLOYMENT, MODEL, Board, Panel, Query, Row, quantiles

_OF = 'model=~"$model", deployment=~"$deployment"'
_GEN_AI = 'gen_ai_request_model=~"$model", deployment=~"$deployment"'
_BAD = 'outcome=~"upstream_error|upstream_timeout|internal_error"'
_BY = "by (model, deployment, arm)"
_ARM = "{{model}} {{deployment}} {{arm}}"


def _rate(metric: str, selector: str, by: str = _BY) -> str:
    return f"sum {by} (rate({metric}{{{selector}}}[$__rate_interval]))"


_REQUESTS = _rate("sluicegate_requests_total", f'{_OF}, arm!="-"')

ARMS = Row(
    "Arms side by side",
    (
        Panel(
            "Requests by arm", "Who served. The candidate's share should be its weight; far off: callers are few, or"
            " sticky units are large.",
            "reqps", (Query(_REQUESTS, _ARM),), stacked=True,
        ),
        Panel(
            "Failing share by arm", "Upstream errors and timeouts per request. A candidate above stable: the rollout's error"
            " gate is weighing it; look at the evidence before you act.",
            "percentunit", (Query(f"{_rate('sluicegate_requests_total', f'{_OF}, {_BAD}')} / {_REQUESTS}", _ARM),),
        ),
        Panel(
            "Cut and refused by guards, by arm", "Completions that a guard stopped. A candidate that is cut more often says"
            " more that it should not.",
            "percentunit",
            (Query(f"""{_rate('sluicegate_requests_total', f'{_OF}, outcome="cut_guard"')} / {_REQUESTS}""", _ARM),),
        ),
        Panel(
            "First token by arm, p95", "Streams, as callers get it. A slower candidate: compare its replicas and batch.",
            "s",
            (Query(f"histogram_quantile(0.95, sum by (le, model, deployment, arm) (rate(sluicegate_time_to_first_token_seconds_bucket{{{_OF}}}[$__rate_interval])))", _ARM),),
        ),
        Panel(
            "Cost per request by arm", "US dollars. A candidate that talks more costs more: see tokens per request.",
            "currencyUSD", (Query(f"{_rate('sluicegate_cost_usd_total', _OF)} / {_REQUESTS}", _ARM),),
        ),
        Panel(
            "Output tokens per request by arm", "The length of answers. Far from stable's: the candidate behaves"
            " differently, whether it fails or not.",
            "short",
            (
                Query(
                    f"""sum by (gen_ai_request_model, deployment, arm) (rate(gen_ai_client_token_usage_sum{{{_GEN_AI}, gen_ai_token_type="output"}}[$__rate_interval]))"""
                    f""" / sum by (gen_ai_request_model, deployment, arm) (rate(gen_ai_client_token_usage_count{{{_GEN_AI}, gen_ai_token_type="output"}}[$__rate_interval]))""",
                    "{{gen_ai_request_model}} {{deployment}} {{arm}}",
                ),
            ),
        ),
    ),
)  # fmt: skip

ROLLOUT = Row(
    "Rollout",
    (
        Panel(
            "Weights", "Percent of a model's traffic by deployment. Falls to 0 by itself: rolled back; `sluicegate rollout"
            " show` says by which gate.",
            "percent", (Query('max by (model, deployment) (sluicegate_rollout_weight{model=~"$model"})', "{{model}} {{deployment}}"),),
            width=6, most=100,
        ),
        Panel(
            "Evidence against the candidate", "Grows as a gate finds the candidate worse than stable; it rolls back at one over"
            " the gate's part of alpha (20 at 5 %). Near 1: nothing is known either way.",
            "short", (Query('max by (model, gate) (sluicegate_rollout_evidence{model=~"$model"})', "{{model}} {{gate}}"),), width=6,
        ),
        Panel(
            "State", "Where each rollout is. `paused` waits for a person: `sluicegate rollout show MODEL` says why, then resume,"
            " promote or abort.",
            "none", (Query('max by (model, state) (sluicegate_rollout_state{model=~"$model"}) == 1', "{{model}}: {{state}}"),),
            "names", 6,
        ),
        Panel(
            "Feedback", "Mean score that callers gave. Few scores mean little: compare with the count.",
            "short",
            (Query(f"{_rate('sluicegate_feedback_score_sum', _OF, 'by (model, deployment)')} / {_rate('sluicegate_feedback_score_count', _OF, 'by (model, deployment)')}", "{{model}} {{deployment}}"),),
            width=6,
        ),
    ),
)  # fmt: skip

SHADOW = Row(
    "Shadow",
    (
        Panel(
            "Shadow requests", "Copies sent beside the callers' requests, by how they ended. Dropped ones are the price of"
            " load: shadows go first.",
            "reqps", (Query('sum by (model, result) (rate(sluicegate_shadow_copies_total{model=~"$model"}[$__rate_interval]))', "{{model}} {{result}}"),),
        ),
        Panel(
            "Agreement of shadows", "How much the shadow's text shares with the caller's in words and, where embeddings are made, in meaning; 0 to 1, mean. Low: read a few of them"
            " before the rollout begins.",
            "percentunit",
            (Query('sum by (model) (rate(sluicegate_shadow_similarity_sum{model=~"$model"}[$__rate_interval])) / sum by (model) (rate(sluicegate_shadow_similarity_count{model=~"$model"}[$__rate_interval]))', "{{model}} words"),
             Query('sum by (model) (rate(sluicegate_shadow_meaning_sum{model=~"$model"}[$__rate_interval])) / sum by (model) (rate(sluicegate_shadow_meaning_count{model=~"$model"}[$__rate_interval]))', "{{model}} meaning")),
            most=1,
        ),
        Panel(
            "Differences", "Comparisons a second in which the shadow differs, by what: status, refusal, harm, format, tools."
            " `harm` or `format` that primary has not: do not begin the rollout; the shadow report has the counts.",
            "suffix: /s", (Query('sum by (model, what) (rate(sluicegate_shadow_flips_total{model=~"$model"}[$__rate_interval]))', "{{model}} {{what}}"),),
        ),
        Panel(
            "Duration side by side, p95", "The same requests, answered by both. The shadow is slower under a copy of the load:"
            " it will be under the load itself.",
            "s",
            (Query('histogram_quantile(0.95, sum by (le, model, side) (rate(sluicegate_shadow_duration_seconds_bucket{model=~"$model"}[$__rate_interval])))', "{{model}} {{side}}"),),
        ),
        Panel(
            "Cost of copies per hour", "Nobody is charged for them; they stay within the shadow's own budget. Too much: lower"
            " `sample`.",
            "currencyUSD", (Query('sum by (model) (rate(sluicegate_shadow_cost_usd_total{model=~"$model"}[$__rate_interval])) * 3600', "{{model}}"),),
        ),
        Panel(
            "Copies under way", "Places taken, of `max_concurrent`. Full: copies are dropped as busy; the shadow is slow.",
            "short", (Query('sum by (model) (sluicegate_shadow_in_flight{model=~"$model"})', "{{model}}"),),
        ),
    ),
)  # fmt: skip

ATTEMPTS = Row(
    "Upstreams",
    (
        Panel(
            "Attempts by deployment and result", "What each deployment answered. 429: its own limit; `connect`: nobody there.",
            "reqps", (Query('sum by (deployment, result) (rate(sluicegate_upstream_attempts_total{deployment=~"$deployment"}[$__rate_interval]))', "{{deployment}} {{result}}"),),
        ),
        Panel(
            "Endpoints up", "Workers that hold each replica for healthy. 0: nobody sends there; look at the replica.",
            "short", (Query('sum by (deployment, endpoint) (sluicegate_endpoint_up{deployment=~"$deployment"})', "{{deployment}} #{{endpoint}}"),),
        ),
        Panel(
            "First chunk of the upstream", "From the start of the attempt to its first chunk: the engine's or provider's own"
            " share of the time to first token. Dots lead to traces.",
            "s", quantiles("gen_ai_client_operation_time_to_first_chunk_seconds", _GEN_AI), exemplars=True,
        ),
        Panel(
            "Upstream duration by deployment, p95", "One attempt, first to last byte, by the upstream alone. Far below the"
            " request's duration: the rest is retries, or the gateway's own (Gateway health).",
            "s",
            (Query(f"histogram_quantile(0.95, sum by (le, deployment) (rate(gen_ai_client_operation_duration_seconds_bucket{{{_GEN_AI}}}[$__rate_interval])))", "{{deployment}}"),),
            exemplars=True, width=24,
        ),
    ),
)  # fmt: skip

BOARD = Board(
    "sluicegate-rollouts",
    "Sluicegate / Models & rollouts",
    "Arms of a model side by side, the rollout's evidence, and shadows.",
    (MODEL, DEPLOYMENT),
    (ARMS, ROLLOUT, SHADOW, ATTEMPTS),
)
