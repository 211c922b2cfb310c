"""Every metric, declared once; and the kept children through which stages write them.

Names and buckets follow OpenTelemetry's GenAI semantic conventions (v1.38, `gen_ai.client.*`, written in Prometheus
form) where one exists; `sluicegate_*` is ours. Buckets of times to first token go on to 120 s.
Labels are bounded: a model name that no table knows is `-`, a tenant beyond `telemetry.metrics_tenants` is `other`.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.cells import Cells, Counter, Gauge, Histogram


class Kind(StrEnum):
    """Prometheus' metric types."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(StrEnum):
    """How several workers' values become one: they add up, or all of them saw the same and the highest counts."""

    SUM = "sum"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's declaration. `labels` are in the order in which children are asked for; `buckets` are upper bounds."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    merge: Merge = Merge.SUM

    @property
    def told(self) -> str:
        """The help text of a scrape: with how workers' values become one, where that is not a counter's plain sum."""
        if self.merge is Merge.MAX:
            return f"{self.help} Of several workers: the highest."
        return f"{self.help} Of several workers: the sum." if self.kind is Kind.GAUGE else self.help


_DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0)
_BETWEEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
_OVERHEAD = (5e-06, 1e-05, 2e-05, 5e-05, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.1, 1.0)
_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "deployment", "arm")

REQUESTS = Metric(
    "sluicegate_requests_total",
    Kind.COUNTER,
    "Data-plane POSTs by how they ended; every request has exactly one outcome.",
    ("model", "deployment", "arm", "tenant", "outcome"),
)
ATTEMPTS = Metric(
    "sluicegate_upstream_attempts_total",
    Kind.COUNTER,
    "Requests sent to upstreams, retries and fallbacks included, by result: ok, a status class, or why no response came.",
    ("deployment", "arm", "result"),
)
COST = Metric(
    "sluicegate_cost_usd_total",
    Kind.COUNTER,
    "US dollars, from tokens and the deployment's prices at the time of the request.",
    ("model", "deployment", "arm", "tenant"),
)
FIRST_TOKEN = Metric(
    "sluicegate_time_to_first_token_seconds",
    Kind.HISTOGRAM,
    "From the request's arrival to the first byte of a streamed answer on the caller's socket.",
    ("model", "deployment", "arm"),
    _FIRST,
)
PER_TOKEN = Metric(
    "sluicegate_time_per_output_token_seconds",
    Kind.HISTOGRAM,
    "Streams: time between the first and the last piece sent to the caller, per output token after the first.",
    ("model", "deployment", "arm"),
    _BETWEEN,
)
REQUEST_DURATION = Metric(
    "sluicegate_request_duration_seconds",
    Kind.HISTOGRAM,
    "From the request's arrival to the last byte of its answer, of requests that reached an upstream.",
    ("model", "deployment", "arm"),
    _DURATION,
)
OVERHEAD = Metric(
    "sluicegate_overhead_seconds",
    Kind.HISTOGRAM,
    "The gateway's own time per request and stage, waiting for callers and upstreams taken out; `total` is their sum.",
    ("stage",),
    _OVERHEAD,
)
FITTED = Metric(
    "sluicegate_fit_total",
    Kind.COUNTER,
    "Requests that did not fit their model's context window, by what was done: reject, clamp, truncate, summarise, chunk.",
    ("model", "action"),
)
IN_FLIGHT = Metric(
    "sluicegate_in_flight",
    Kind.GAUGE,
    "Requests that are being served by a deployment right now; adds up over workers.",
    ("deployment",),
)
ENDPOINT_UP = Metric(
    "sluicegate_endpoint_up",
    Kind.GAUGE,
    "Workers that hold an endpoint for healthy, by the endpoint's place in the deployment's list; 0 means nobody sends to it.",
    ("deployment", "endpoint"),
)
RETRIES_DENIED = Metric(
    "sluicegate_retries_denied_total",
    Kind.COUNTER,
    "Retries that were not made because the retry budget (10 % of traffic) was spent.",
    ("deployment",),
)
CONFIG_RELOADS = Metric(
    "sluicegate_config_reloads_total",
    Kind.COUNTER,
    "Reloads of the configuration file, by result: changed, unchanged, refused.",
    ("result",),
)
GUARD_HITS = Metric(
    "sluicegate_guard_hits_total",
    Kind.COUNTER,
    "What guards found, by stage (prompt, completion), category and what came of it: block, redact, annotate, log.",
    ("stage", "category", "action"),
)
GUARD_HOLD = Metric(
    "sluicegate_guard_hold_seconds",
    Kind.HISTOGRAM,
    "Guarded answers: the longest that text of one answer was held back.",
    (),
    _BETWEEN,
)
GUARD_FAILURES = Metric(
    "sluicegate_guard_failures_total",
    Kind.COUNTER,
    "Detectors that gave no verdict, by detector and reason: error or timeout.",
    ("detector", "reason"),
)
DROPPED = Metric(
    "sluicegate_dropped_total",
    Kind.COUNTER,
    "Work off the request path that was dropped because its bound was reached: log lines, metric series, spans.",
    ("what",),
)
SPOOL_BYTES = Metric(
    "sluicegate_spool_bytes",
    Kind.GAUGE,
    "Bytes of the ledger's spools on this host, told by the process that delivers them; grows while the database is away.",
)
SPOOL_RECORDS = Metric(
    "sluicegate_spool_records",
    Kind.GAUGE,
    "Requests that have ended, were read from the spool, and wait for the database.",
)
_BUDGET = ("scope", "window", "unit")
BUDGET_LIMIT = Metric(
    "sluicegate_budget_limit",
    Kind.GAUGE,
    "What a budget allows in its current window: tokens, or US dollars for unit `money`.",
    _BUDGET,
    merge=Merge.MAX,
)
BUDGET_USED = Metric(
    "sluicegate_budget_used", Kind.GAUGE, "What was used of it, overage included.", _BUDGET, merge=Merge.MAX
)
BUDGET_RESERVED = Metric(
    "sluicegate_budget_reserved",
    Kind.GAUGE,
    "What requests under way, and workers' slices, hold of it.",
    _BUDGET,
    merge=Merge.MAX,
)
OVERAGE_TOKENS = Metric(
    "sluicegate_overage_tokens_total",
    Kind.COUNTER,
    "Tokens that an upstream reported beyond the bound it was given.",
    ("deployment",),
)
OVERAGE_USD = Metric(
    "sluicegate_overage_usd_total", Kind.COUNTER, "US dollars of requests beyond their bound.", ("deployment",)
)
LIMITS_UP = Metric("sluicegate_limit_store_up", Kind.GAUGE, "Workers that can take from budgets at present.")
LIMITS_REBUILT = Metric(
    "sluicegate_limit_store_rebuilds_total",
    Kind.COUNTER,
    "Times that Redis' state was lost and rebuilt from the ledger.",
)
LEDGER_ROWS = Metric("sluicegate_ledger_rows_total", Kind.COUNTER, "Rows that were delivered into the ledger.")
DATABASE_UP = Metric(
    "sluicegate_database_up", Kind.GAUGE, "Workers whose last look at the ledger's database succeeded."
)
ROLLOUT_WEIGHT = Metric(
    "sluicegate_rollout_weight",
    Kind.GAUGE,
    "Percent of a model's traffic that a deployment gets by its rollout; shown by the process that acts on rollouts.",
    ("model", "deployment"),
    merge=Merge.MAX,
)
ROLLOUT_EVIDENCE = Metric(
    "sluicegate_rollout_evidence",
    Kind.GAUGE,
    "Evidence that the candidate is worse, by gate, while a rollout is under way; it alarms at 1 / (the gate's part of alpha).",
    ("model", "gate"),
    merge=Merge.MAX,
)
ROLLOUT_STATE = Metric(
    "sluicegate_rollout_state",
    Kind.GAUGE,
    "1 for the state in which a model's rollout is (running, ready, paused, promoted, rolled_back), 0 for the others.",
    ("model", "state"),
    merge=Merge.MAX,
)
SHADOW_COPIES = Metric(
    "sluicegate_shadow_copies_total",
    Kind.COUNTER,
    "Requests drawn for a copy, by what became of it: an outcome, or why it was dropped (busy, load, budget, unwanted).",
    ("model", "deployment", "result"),
)
SHADOW_IN_FLIGHT = Metric(
    "sluicegate_shadow_in_flight",
    Kind.GAUGE,
    "Places for copies that are taken; adds up over workers.",
    ("model", "deployment"),
)
SHADOW_COST = Metric(
    "sluicegate_shadow_cost_usd_total",
    Kind.COUNTER,
    "US dollars that copies have cost; no other metric counts them.",
    ("model", "deployment"),
)
SHADOW_SECONDS = Metric(
    "sluicegate_shadow_duration_seconds",
    Kind.HISTOGRAM,
    "How long the answers that were compared took, by side: primary or shadow.",
    ("model", "deployment", "side"),
    _DURATION,
)
SHADOW_FLIPS = Metric(
    "sluicegate_shadow_flips_total",
    Kind.COUNTER,
    "Comparisons in which the shadow differs: status, refusal, harm, format, tools.",
    ("model", "deployment", "what"),
)
SHADOW_SIMILARITY = Metric(
    "sluicegate_shadow_similarity",
    Kind.HISTOGRAM,
    "How much the shadow's text shares with the primary's, 0 to 1.",
    ("model", "deployment"),
    (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)
SHADOW_MEANING = Metric(
    "sluicegate_shadow_meaning",
    Kind.HISTOGRAM,
    "How alike the shadow's text and the primary's are in meaning: the cosine of their embeddings, where they are made.",
    ("model", "deployment"),
    (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)
FEEDBACK_SCORE = Metric(
    "sluicegate_feedback_score",
    Kind.HISTOGRAM,
    "Scores that callers gave, in their own scale.",
    ("model", "deployment"),
    (-1.0, -0.5, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 100.0),
)
SPANS = Metric("sluicegate_spans_exported_total", Kind.COUNTER, "Spans that the OpenTelemetry collector has taken.")
QUEUE_LENGTH = Metric(
    "sluicegate_queue_length",
    Kind.GAUGE,
    "What waits for work off the request path, by queue; a queue that keeps growing will drop.",
    ("queue",),
)
TASKS = Metric("sluicegate_tasks", Kind.GAUGE, "asyncio tasks alive in the workers.")
UPSTREAM_CONNECTIONS = Metric(
    "sluicegate_upstream_connections", Kind.GAUGE, "Open connections to upstreams, by state: idle or busy.", ("state",)
)
RESIDENT_MEMORY = Metric("sluicegate_resident_memory_bytes", Kind.GAUGE, "Resident memory of all workers together.")
OPEN_FDS = Metric("sluicegate_open_fds", Kind.GAUGE, "Open file descriptors of all workers together.")
CPU_SECONDS = Metric("sluicegate_cpu_seconds_total", Kind.COUNTER, "CPU time of all workers together, user and system.")
LOOP_LAG = Metric(
    "sluicegate_event_loop_lag_seconds",
    Kind.HISTOGRAM,
    "How late a worker's event loop came to a timer, asked once a second; requests wait as long.",
    (),
    _OVERHEAD,
)
BUILD_INFO = Metric("sluicegate_build_info", Kind.GAUGE, "Workers by version of the gateway.", ("version",))
TOKEN_USAGE = Metric(
    "gen_ai_client_token_usage",
    Kind.HISTOGRAM,
    "Tokens per request by type: input or output.",
    ("gen_ai_token_type", *_GEN_AI),
    _TOKENS,
)
OPERATION_DURATION = Metric(
    "gen_ai_client_operation_duration_seconds",
    Kind.HISTOGRAM,
    "One upstream attempt from its start to its last byte.",
    (*_GEN_AI, "error_type"),
    _DURATION,
)
FIRST_CHUNK = Metric(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    Kind.HISTOGRAM,
    "Streams: from the start of the upstream attempt to its first chunk.",
    _GEN_AI,
    _FIRST,
)
PER_CHUNK = Metric(
    "gen_ai_client_operation_time_per_output_chunk_seconds",
    Kind.HISTOGRAM,
    "Streams: time between chunks of the upstream.",
    _GEN_AI,
    _BETWEEN,
)

_ENGINE = ("deployment", "endpoint")
ENGINE_UP = Metric(
    "sluicegate_vllm_up",
    Kind.GAUGE,
    "1 while the engine's own metrics can be read, by the endpoint's place in the deployment's list.",
    _ENGINE,
    merge=Merge.MAX,
)
ENGINE_ASLEEP = Metric(
    "sluicegate_vllm_asleep",
    Kind.GAUGE,
    "1 while the engine says that it sleeps (vLLM's sleep mode); no request is sent there.",
    _ENGINE,
    merge=Merge.MAX,
)
ENGINE_RUNNING = Metric(
    "sluicegate_vllm_requests_running",
    Kind.GAUGE,
    "Requests in the engine's batches, from its own metrics.",
    _ENGINE,
    merge=Merge.MAX,
)
ENGINE_WAITING = Metric(
    "sluicegate_vllm_requests_waiting",
    Kind.GAUGE,
    "Requests waiting in the engine's queue, from its own metrics.",
    _ENGINE,
    merge=Merge.MAX,
)
ENGINE_KV_CACHE = Metric(
    "sluicegate_vllm_kv_cache_usage_ratio",
    Kind.GAUGE,
    "Share of the engine's KV cache in use, 0 to 1; near 1 it preempts requests.",
    _ENGINE,
    merge=Merge.MAX,
)
ENGINE_PREFIX_QUERIES = Metric(
    "sluicegate_vllm_prefix_cache_queries_total",
    Kind.COUNTER,
    "Prompt tokens that the engine looked for in its prefix cache.",
    _ENGINE,
    merge=Merge.MAX,
)
ENGINE_PREFIX_HITS = Metric(
    "sluicegate_vllm_prefix_cache_hits_total",
    Kind.COUNTER,
    "Prompt tokens that it found there.",
    _ENGINE,
    merge=Merge.MAX,
)
ENGINE_PREEMPTIONS = Metric(
    "sluicegate_vllm_preemptions_total",
    Kind.COUNTER,
    "Requests that the engine put off again for lack of KV cache.",
    _ENGINE,
    merge=Merge.MAX,
)
ENGINE_PROMPT_TOKENS = Metric(
    "sluicegate_vllm_prompt_tokens_total",
    Kind.COUNTER,
    "Prompt tokens that the engine has processed, for whoever asked.",
    _ENGINE,
    merge=Merge.MAX,
)
ENGINE_OUTPUT_TOKENS = Metric(
    "sluicegate_vllm_generation_tokens_total",
    Kind.COUNTER,
    "Tokens that the engine has made, for whoever asked.",
    _ENGINE,
    merge=Merge.MAX,
)

METRICS = (
    REQUESTS, ATTEMPTS, COST, FIRST_TOKEN, PER_TOKEN, OVERHEAD, FITTED, IN_FLIGHT, ENDPOINT_UP, RETRIES_DENIED, CONFIG_RELOADS, DROPPED,
    BUDGET_LIMIT, BUDGET_USED, BUDGET_RESERVED, OVERAGE_TOKENS, OVERAGE_USD, LIMITS_UP, LIMITS_REBUILT,
    REQUEST_DURATION, ENGINE_UP, ENGINE_ASLEEP, ENGINE_RUNNING, ENGINE_WAITING, ENGINE_KV_CACHE, ENGINE_PREFIX_QUERIES,
    ENGINE_PREFIX_HITS, ENGINE_PREEMPTIONS, ENGINE_PROMPT_TOKENS, ENGINE_OUTPUT_TOKENS, CPU_SECONDS, LOOP_LAG,
    GUARD_HITS, GUARD_HOLD, GUARD_FAILURES, SPOOL_BYTES, SPOOL_RECORDS, LEDGER_ROWS, DATABASE_UP, ROLLOUT_WEIGHT, ROLLOUT_EVIDENCE, ROLLOUT_STATE, FEEDBACK_SCORE,
    SHADOW_COPIES, SHADOW_IN_FLIGHT, SHADOW_COST, SHADOW_SECONDS, SHADOW_FLIPS, SHADOW_SIMILARITY, SHADOW_MEANING,
    SPANS, QUEUE_LENGTH, TASKS, UPSTREAM_CONNECTIONS, RESIDENT_MEMORY, OPEN_FDS, BUILD_INFO, TOKEN_USAGE, OPERATION_DURATION, FIRST_CHUNK, PER_CHUNK,
)  # fmt: skip

UNKNOWN = math.nan
"""A gauge's value while there is none: the exposition leaves the series out."""


class Telemetry:
    """Hands out children of the declared metrics, each made once and kept."""

    def __init__(self, cells: Cells) -> None:
        nothing = {one.name: UNKNOWN if one.merge is Merge.MAX else 0.0 for one in METRICS if one.kind is Kind.GAUGE}
        for series in cells.catalogue:  # a process before this one left them; what it held it holds no more
            if series.metric in nothing:
                cells.values[series.start] = nothing[series.metric]
        self.cells = cells
        self._children: dict[tuple[str, ...], Counter | Histogram] = {}

    def counter(self, metric: Metric, *labels: str) -> Counter:
        """The child of a counter with these label values."""
        child = self._children.get((metric.name, *labels))
        if child is None:
            child = Counter(self.cells, self.cells.allocate(metric.name, labels, 1))
            self._children[(metric.name, *labels)] = child
        return child  # type: ignore[return-value]  # the key holds the metric's name, so the kind is right

    def gauge(self, metric: Metric, *labels: str) -> Gauge:
        """The child of a gauge with these label values."""
        child = self._children.get((metric.name, *labels))
        if child is None:
            child = Gauge(self.cells, self.cells.allocate(metric.name, labels, 1))
            self._children[(metric.name, *labels)] = child
        return child  # type: ignore[return-value]  # as above

    def histogram(self, metric: Metric, *labels: str) -> Histogram:
        """The child of a histogram with these label values."""
        child = self._children.get((metric.name, *labels))
        if child is None:
            start = self.cells.allocate(metric.name, labels, len(metric.buckets) + 2)
            child = Histogram(self.cells, start, metric.buckets)
            self._children[(metric.name, *labels)] = child
        return child  # type: ignore[return-value]  # as above

    def exemplify(self, metric: Metric, labels: tuple[str, ...], value: float, trace_id: str) -> None:
        """Remember a traced request as the example of the bucket that it was counted in."""
        start = self.cells.allocate(metric.name + EXEMPLARS, labels, (len(metric.buckets) + 1) * EXEMPLAR_SIZE)
        start += bisect_left(metric.buckets, value) * EXEMPLAR_SIZE
        number = int(trace_id, 16)
        slots = (value, float(number >> 86), float(number >> 43 & _LIMB), float(number & _LIMB), time.time())
        for place, slot in enumerate(slots):
            self.cells.values[start + place] = slot


EXEMPLARS = "#"
"""Behind a histogram's name: the series that holds its exemplars, made with the first of them."""
EXEMPLAR_SIZE = 5
"""Slots per bucket: value, the trace id in three whole numbers of at most 43 bits, Unix time (0: none yet)."""
_LIMB = 2**43 - 1


def trace_id_of(slots: Sequence[float]) -> str:
    """The trace id of an exemplar's slots."""
    return f"{int(slots[1]) << 86 | int(slots[2]) << 43 | int(slots[3]):032x}"
