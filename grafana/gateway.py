"""Gateway health: the gateway's own time, its queues, what it dropped, and what it depends on."""

from __future__ import annotations

from grafana.parts import Board, Panel, Query, Row, quantiles

OWN = Row(
    "Its own time",
    (
        Panel(
            "Overhead per request", "The gateway's own time in all stages, waiting taken out. Grows with load: workers are"
            " short of CPU; add some.",
            "s", quantiles("sluicegate_overhead_seconds", 'stage="total"'),
        ),
        Panel(
            "Overhead by stage, mean", "Where it goes. One stage that jumps names the culprit: a guard, a store, a large body.",
            "s",
            (Query('sum by (stage) (rate(sluicegate_overhead_seconds_sum{stage!="total"}[$__rate_interval])) / sum by (stage) (rate(sluicegate_overhead_seconds_count{stage!="total"}[$__rate_interval]))', "{{stage}}"),),
            stacked=True,
        ),
        Panel(
            "Event loop lag", "How late a worker came to a timer. Above 50 ms: it is overloaded, or something blocks it.",
            "s", quantiles("sluicegate_event_loop_lag_seconds", ""), bad=0.05,
        ),
        Panel(
            "CPU", "Cores that all workers burn together. Near the number of workers: add workers or pods.",
            "suffix: cores", (Query("sum(rate(sluicegate_cpu_seconds_total[$__rate_interval]))", "cores"), Query("sum(sluicegate_build_info)", "workers")),
        ),
        Panel(
            "Memory", "Resident memory of all workers. Grows for hours without falling: a leak; please report it.",
            "bytes", (Query("sum(sluicegate_resident_memory_bytes)", "resident"),),
        ),
        Panel(
            "In flight", "Requests under way, all deployments. At max_in_flight times workers, callers get `overloaded`.",
            "short", (Query("sum(sluicegate_in_flight)", "in flight"),),
        ),
    ),
)  # fmt: skip

QUEUES = Row(
    "Queues and drops",
    (
        Panel(
            "Dropped", "Work off the request path that found no room: log lines, spans, metric series. Above zero, what you see"
            " elsewhere is not everything.",
            "suffix: /s", (Query("sum by (what) (rate(sluicegate_dropped_total[$__rate_interval]))", "{{what}}"),), bad=0.001,
        ),
        Panel(
            "Waiting off the path", "Queues of work that no request waits for. One that grows will drop: its consumer (collector,"
            " database) is slow or down.",
            "short", (Query("sum by (queue) (sluicegate_queue_length)", "{{queue}}"),),
        ),
        Panel(
            "Spans exported", "What the OpenTelemetry collector took. Zero with traffic: look at the log, `spans cannot be sent`.",
            "suffix: spans/s", (Query("sum(rate(sluicegate_spans_exported_total[$__rate_interval]))", "spans"),),
        ),
        Panel(
            "Ledger: waiting", "Requests that have ended and wait for the database. Grows: the database is away or slow; nothing is"
            " lost while the disk has room.",
            "short", (Query("max(sluicegate_spool_records)", "records"),), width=6,
        ),
        Panel(
            "Ledger: spool on disk", "What the spool takes. Segments leave whole, so it rises and falls; only ever rising with"
            " requests waiting: look at the database, and at the disk's room.",
            "bytes", (Query("max(sluicegate_spool_bytes)", "bytes"),), width=6,
        ),
        Panel(
            "Ledger: rows delivered", "Rows a second into the database. Far below requests: it cannot keep up.",
            "suffix: rows/s", (Query("sum(rate(sluicegate_ledger_rows_total[$__rate_interval]))", "rows"),), width=6,
        ),
        Panel(
            "Retries denied", "Retries that the budget of 10 % of traffic did not allow: the deployment is failing, and"
            " retrying would make it worse.",
            "suffix: /s", (Query("sum by (deployment) (rate(sluicegate_retries_denied_total[$__rate_interval]))", "{{deployment}}"),), width=6, bad=0.001,
        ),
    ),
)  # fmt: skip

DEPENDENCIES = Row(
    "Dependencies and process",
    (
        Panel(
            "Endpoints up", "Workers that hold each replica for healthy. 0: nobody sends there.",
            "short", (Query("sum by (deployment, endpoint) (sluicegate_endpoint_up)", "{{deployment}} #{{endpoint}}"),),
        ),
        Panel(
            "Database up", "Workers whose last look at the ledger's database succeeded. Below the number of workers: see the"
            " spool above.",
            "short", (Query("sum(sluicegate_database_up)", "workers"),),
        ),
        Panel(
            "Limit store up", "Workers that can take from budgets and limits, and rebuilds of Redis' state. Below the number of"
            " workers: requests with budgets are refused or live on slices; `/readyz` says why.",
            "short", (Query("sum(sluicegate_limit_store_up)", "workers"), Query("sum(sluicegate_limit_store_rebuilds_total)", "rebuilds")),
        ),
        Panel(
            "Connections to upstreams", "Idle and busy ones. Busy ones grow without traffic: streams that do not end.",
            "short", (Query("sum by (state) (sluicegate_upstream_connections)", "{{state}}"),),
        ),
        Panel(
            "Open files", "Of all workers. Near the limit (`ulimit -n`): new connections fail.",
            "short", (Query("sum(sluicegate_open_fds)", "files"),),
        ),
        Panel(
            "asyncio tasks", "Follow requests. Grow without traffic: a leak; please report it.",
            "short", (Query("sum(sluicegate_tasks)", "tasks"),),
        ),
        Panel(
            "Reloads", "Reloads of the configuration by result, workers together. `refused`: the running configuration is older"
            " than the file; `sluicegate check` says why.",
            "short", (Query("sum by (result) (sluicegate_config_reloads_total)", "{{result}}"),), "table", 12, 6,
        ),
        Panel(
            "Versions", "Workers by version of the gateway. More than one: a deployment is under way, or got stuck; look at its"
            " pods.",
            "short", (Query("sum by (version) (sluicegate_build_info)", "{{version}}"),), "table", 12, 6,
        ),
    ),
)  # fmt: skip

BOARD = Board(
    "sluicegate-gateway",
    "Sluicegate / Gateway health",
    "The gateway's own time, its queues, what it dropped, and what it depends on.",
    (),
    (OWN, QUEUES, DEPENDENCIES),
)
