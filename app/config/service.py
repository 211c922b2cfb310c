"""The settings of the process: where it listens, where it stores, what it tells."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from app.config.addresses import DatabaseUrl, HttpUrl, LimitStore, is_host
from app.config.deployments import HeaderName, HeaderValue
from app.config.detectors import AzureContentSafety, GuardModel, OpenAIModeration
from app.config.problems import wrong
from app.config.secret import KeySecret
from app.config.types import Change, Count, Duration, Fraction, Label, Name, Settings, Text, Timeout

_RESTART = Change.RESTART


def _host(value: object) -> object:
    if isinstance(value, str) and not is_host(value):
        raise wrong(
            "is neither an IP address nor a host name", "For example `127.0.0.1`, or `0.0.0.0` for every interface."
        )
    return value


Host = Annotated[str, BeforeValidator(_host), Label("host")]
Port = Annotated[int, Field(ge=0, le=65535)]


class Ops(Settings):
    """A listener of its own for operators."""

    host: Host = "127.0.0.1"
    """The address that operators' listener binds."""
    port: Port = 9090
    """Its port; 0 takes a free one."""


class Server(Settings):
    """The callers' listener and what it bounds."""

    host: Annotated[Host, _RESTART] = "127.0.0.1"
    """The address that callers' listener binds."""
    port: Annotated[Port, _RESTART] = 8080
    """Its port; 0 takes a free one."""
    workers: Annotated[int, Field(ge=1, le=256), _RESTART] = 1
    """Processes that serve callers; one uses one core."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=2**31)] = 10 * 1024 * 1024
    """Longest request body; a longer one is refused with `request_too_large`."""
    max_in_flight: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    """Requests that one worker serves at a time; one more is refused with `overloaded`."""
    ops: Annotated[Ops | None, _RESTART] = None
    """Where `/metrics`, `/docs` and `/admin` are served; without it they share the callers' port."""
    header_timeout: Timeout = 15.0
    """How long a request's head may take to arrive."""
    body_timeout: Timeout = 60.0
    """How long a request's body may take to arrive."""
    keep_alive: Annotated[Timeout, _RESTART] = 75.0
    """How long an idle connection of a caller is kept."""
    shutdown_timeout: Annotated[Timeout, _RESTART] = 30.0
    """How long running requests may take to end once the gateway is told to stop."""
    busy_poll: Annotated[Annotated[Duration, Field(ge=0, le=1)], _RESTART] = 0.0
    """How long a worker goes on looking for work before it lets its core sleep; 0: not at all. That takes the core's
    spare time, and saves callers what waking it takes: on virtual machines 35 µs and more, twice a request."""
    busy_poll_in_flight: Annotated[Annotated[int, Field(ge=1, le=1_000_000)], _RESTART] = 4
    """It does so while no more requests than these are in flight in the worker: one that is busy hardly sleeps."""


class Stores(Settings):
    """What outlives a request."""

    database: Annotated[DatabaseUrl, _RESTART] = "sqlite+aiosqlite:///sluicegate.db"
    """Ledger, keys and rollouts: `sqlite+aiosqlite:///FILE` or `postgresql+asyncpg://USER@HOST/NAME`;
    one with a password by reference."""
    limits: Annotated[LimitStore, _RESTART] = "memory"
    """Budgets and limits: `memory` for one worker, `redis://HOST:PORT/N` for more; one with a password by reference."""
    limits_timeout: Annotated[Timeout, _RESTART] = 0.05
    """How long a request waits for Redis; then its tenant's `on_store_failure` decides."""
    ledger: Annotated[bool, _RESTART] = True
    """Whether every request is written down, in spool and database. Without it nobody can be told what was used, and
    there can be no budgets."""
    spool: Annotated[Text, _RESTART] = "./spool"
    """The ledger's durable local folder."""
    spool_fsync: Annotated[Literal["grouped", "always"], _RESTART] = "grouped"
    """Whether requests wait for the disk: `grouped` writes within 50 ms, `always` waits."""
    ledger_days: Annotated[Annotated[int, Field(ge=1, le=36500)] | None, _RESTART] = 400
    """How long a request's row is kept, in days; the days' sums are kept for ever. null keeps rows too."""


class Telemetry(Settings):
    """What the gateway tells about itself."""

    otlp_endpoint: Annotated[HttpUrl | None, _RESTART] = None
    """An OpenTelemetry collector's address, OTLP over HTTP: spans go to `/v1/traces` below it. Null traces nothing."""
    trace_sample: Annotated[Fraction, _RESTART] = 0.01
    """Share of requests whose traces are kept, where the caller's own `traceparent` does not say.
    Those that failed, were cut or were slow are kept besides."""
    trace_slow: Annotated[Timeout, _RESTART] = 10.0
    """A request is slow whose first byte (stream) or end (any other answer) comes later than this."""
    otlp_headers: Annotated[dict[HeaderName, HeaderValue], _RESTART] = Field(default_factory=dict)
    """Headers for the collector; credentials by reference, for example `authorization: env:NAME`."""
    capture_content: Annotated[bool, _RESTART] = False
    """Whether prompts and answers stand in the spans of sampled requests, and answers in the rows of shadows'
    comparisons; personal data and blocklists are taken out. Streams of sampled requests take the slower way through the
    gateway, where every event is read."""
    log: Annotated[Literal["json", "text"], _RESTART] = "json"
    """Log lines for machines or for a terminal."""
    access_log: Annotated[Literal["all", "failures", "none"], _RESTART] = "all"
    """Which requests get a line in the log: every one, those whose outcome is not `ok`, or none. The ledger has a row
    for each that reached an upstream either way."""
    metrics_tenants: Annotated[Count, _RESTART] = 200
    """Tenants that get a label value of their own in metrics; the rest are `other`."""


class Safety(Settings):
    """What detectors need beside a guard: how those that are models are run, where those that are services are."""

    profile: Literal["full", "fast", "tiny"] = "full"
    """`full` reads with two encoders, `fast` with the quicker one of them, `tiny` with character n-grams alone;
    docs/safety-evaluation.md compares them."""
    queue: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Texts that may wait for the process; one more fails at once, and the guard's `on_error` says what that means."""
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Threads that run the models, each on one core."""
    azure_content_safety: AzureContentSafety | None = None
    """Where the detector `azure_content_safety` asks."""
    openai_moderation: OpenAIModeration | None = None
    """Where the detector `openai_moderation` asks."""
    guard_model: GuardModel | None = None
    """Which model the detector `guard_model` asks."""


class AdminKey(Settings):
    """A credential for `/admin/v1` and, where it is guarded, `/metrics`."""

    name: Name
    """Who holds it; stands in the audit."""
    secret: KeySecret
    """Reference to the secret."""
    role: Literal["admin", "viewer"] = "admin"
    """`viewer` may only read."""


class Admin(Settings):
    """Who may operate the gateway."""

    key: KeySecret | None = None
    """Short for one key named `admin` with the role `admin`."""
    keys: tuple[AdminKey, ...] = ()
    """Every operator's key."""
