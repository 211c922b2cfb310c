"""vLLM engines: the gateway's view and the engine's own, on one time axis."""

from __future__ import annotations

from grafana.parts import Board, Panel, Query, Row, Variable, quantiles

DEPLOYMENT = Variable("deployment", "sluicegate_vllm_up", "deployment", "Deployment")
_OF = 'deployment=~"$deployment"'
_WHERE = "{{deployment}} #{{endpoint}}"


def _engine(metric: str) -> str:
    return f"max by (deployment, endpoint) (sluicegate_vllm_{metric}{{{_OF}}})"


def _rate(metric: str) -> str:
    return f"max by (deployment, endpoint) (rate(sluicegate_vllm_{metric}_total{{{_OF}}}[$__rate_interval]))"


def _vllm_only(expr: str) -> str:
    """Of a query by deployment, those that are vLLM: the gateway's own metrics know all deployments."""
    return f"{expr} and on (deployment) max by (deployment) (sluicegate_vllm_up)"


def _p95(metric: str) -> Query:
    query = quantiles(metric, _OF, "deployment")[1]
    return Query(_vllm_only(query.expr), query.legend)


LOAD = Row(
    "Load",
    (
        Panel(
            "In flight: gateway and engine", "What the gateway has sent and what the engine runs and queues. The gateway's far"
            " above the engine's: requests wait for connections; far below: others use the engine too.",
            "short",
            (
                Query(_vllm_only(f"sum by (deployment) (sluicegate_in_flight{{{_OF}}})"), "gateway {{deployment}}"),
                Query(_engine("requests_running"), f"running {_WHERE}"),
                Query(_engine("requests_waiting"), f"waiting {_WHERE}"),
            ),
            width=12,
        ),
        Panel(
            "KV cache in use", "Near 1 the engine preempts: add a replica, lower max_num_seqs or max_output_tokens, or move"
            " traffic away.",
            "percentunit", (Query(_engine("kv_cache_usage_ratio"), _WHERE),), width=12, most=1, bad=0.9,
        ),
        Panel(
            "Preemptions", "Requests put off for lack of KV cache: they are computed again, and their callers wait.",
            "ops", (Query(_rate("preemptions"), _WHERE),), bad=0.1,
        ),
        Panel(
            "Prefix cache hits", "Share of prompt tokens found in the cache. Falls: prompts no longer begin alike, or the cache"
            " is too small.",
            "percentunit",
            (Query(f"{_rate('prefix_cache_hits')} / {_rate('prefix_cache_queries')}", _WHERE),), most=1,
        ),
        Panel(
            "Engines up", "1 while the engine's own metrics can be read. 0 while requests succeed: the metrics page is closed"
            " to the gateway (`metrics: null` stops asking).",
            "short", (Query(_engine("up"), _WHERE), Query(_engine("asleep"), f"asleep {_WHERE}")), most=1,
        ),
    ),
)  # fmt: skip

SPEED = Row(
    "Speed",
    (
        Panel(
            "Tokens made", "By the engine, for whoever asked, and through this gateway. A gap: somebody else uses it.",
            "suffix: tok/s",
            (
                Query(_rate("generation_tokens"), f"engine {_WHERE}"),
                Query(_vllm_only(f'sum by (deployment) (rate(gen_ai_client_token_usage_sum{{gen_ai_token_type="output", {_OF}}}[$__rate_interval]))'), "gateway {{deployment}}"),
            ),
        ),
        Panel(
            "Prompt tokens read", "Prefill. High beside the tokens made: long prompts; prefix caching and chunked prefill help.",
            "suffix: tok/s", (Query(_rate("prompt_tokens"), _WHERE),),
        ),
        Panel(
            "First chunk, p95", "From the start of the attempt to the engine's first chunk. Grows with the waiting queue.",
            "s", (_p95("gen_ai_client_operation_time_to_first_chunk_seconds"),), exemplars=True,
        ),
        Panel(
            "Between chunks, p95", "What a stream's reader waits. Grows with the engine's batch.",
            "s", (_p95("gen_ai_client_operation_time_per_output_chunk_seconds"),), width=12,
        ),
        Panel(
            "Attempts by result", "What the engine answered. 503: its queue is full; `between_tokens` and `first_token`: it"
            " fell silent.",
            "reqps", (Query(_vllm_only(f"sum by (deployment, result) (rate(sluicegate_upstream_attempts_total{{{_OF}}}[$__rate_interval]))"), "{{deployment}} {{result}}"),),
            width=12,
        ),
    ),
)  # fmt: skip

BOARD = Board(
    "sluicegate-engines",
    "Sluicegate / vLLM engines",
    "The gateway's view and the engine's own, on one time axis.",
    (DEPLOYMENT,),
    (LOAD, SPEED),
)
