"""The composition root: makes everything that one serving process is made of, and runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvicorn

from app import table as tables
from app.api.admin import directory_admin
from app.api.app import GatewayApp, ops_app
from app.api.catalogue import catalogue, probes
from app.api.feedback import feedback
from app.api.hot import Hot
from app.api.moderations import moderations
from app.api.ops import Operators, config_admin, metrics
from app.api.rollouts import rollout_admin
from app.api.server import Bounds, Protocol
from app.api.shadows import shadow_report
from app.api.usage import budgets_admin, own_usage, usage_admin
from app.books import Books
from app.cells import WORKER, Cells, Files, Series
from app.compiled import state
from app.config import Config, as_json, is_loopback, redacted
from app.control.keys import StoredKeys
from app.control.reload import Reloader, ReloadResult
from app.exchange import JsonObject
from app.limits import Limits
from app.logs import LineLog
from app.outbox import Outbox
from app.pipeline.admit import Admission
from app.pipeline.attempts import Attempts
from app.pipeline.call import Caller
from app.pipeline.endpoints import Endpoints
from app.pipeline.fit import Fitter
from app.pipeline.mirror import Mirror
from app.pipeline.record import Recorder
from app.pipeline.reserve import Reserver
from app.pipeline.retries import NoRetries, RetryBudgets
from app.pipeline.serve import Services
from app.pipeline.spans import Tracer
from app.process import spare_collections, watch_process
from app.providers.collector import Collector
from app.providers.counter import PromptCounter
from app.providers.engines import Engines
from app.providers.health import Prober, describe
from app.providers.registry import DIALECTS
from app.providers.transport import HttpTransport
from app.rollouts import Steering
from app.safety.guards import Guards
from app.safety.models.fleet import Fleet
from app.safety.redactor import Redactor
from app.safety.remote.members import members
from app.shadows import Comparing, LocalPurse, Shadows
from app.stores.comparisons import Comparisons
from app.stores.directory import Directory
from app.stores.feedback import FeedbackStore
from app.tasks import TaskGroup, come_soon
from app.telemetry import BUILD_INFO, CONFIG_RELOADS, DROPPED, GUARD_FAILURES, QUEUE_LENGTH, SPANS, Telemetry
from app.version import VERSION
from app.vigil import Vigil

_log = logging.getLogger("sluicegate")
_BACKLOG = 2048
_CUT_WITHIN = 1.0
_YIELD = 0.0005
"""Seconds after which a thread that writes the log or the ledger makes way for the event loop; Python's own is 5 ms."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """The sockets of one gateway: callers' and, where there is one, operators', which workers share.

    That of callers does not listen where there are several workers: it holds the address, and each worker listens
    there with a socket of its own (SO_REUSEPORT). Were it shared, whoever wakes first would take all that connect at
    once, and keep them.
    """

    callers: socket.socket
    ops: socket.socket | None

    def close(self) -> None:
        """Let go of them: once no process holds them, nobody can connect any more."""
        self.callers.close()
        if self.ops is not None:
            self.ops.close()


@dataclass(frozen=True, slots=True)
class Launch:
    """What a process needs to serve. `metrics_dir` is where workers keep their cells when there are several."""

    config: Config
    path: Path
    listeners: Listeners
    overrides: dict[str, object]
    """Settings of the command line, by path; they win over the file on every reload too."""
    worker: int = 0
    metrics_dir: Path | None = None

    def for_worker(self, number: int, metrics_dir: Path) -> Launch:
        """The same for one worker of several."""
        return replace(self, worker=number, metrics_dir=metrics_dir)


def listen(config: Config) -> Listeners:
    """Bind what the configuration names. Raises `OSError`, its text naming the address."""
    server = config.server
    callers = (_held if server.workers > 1 else _listening)(server.host, server.port)
    try:
        return Listeners(callers, _listening(server.ops.host, server.ops.port) if server.ops is not None else None)
    except OSError:
        callers.close()
        raise


def _listening(host: str, port: int) -> socket.socket:
    bound = _bind(host, port)
    bound.listen(_BACKLOG)
    return bound


def _held(host: str, port: int) -> socket.socket:
    """The address of all workers. Taken alone first: where another gateway of this user listens, only that tells."""
    with _bind(host, port) as alone:
        address = alone.getsockname()[:2]
    return _bind(*address, several=True)


def _beside(bound: socket.socket) -> socket.socket:
    """One worker's own socket at the address of all. It listens once the worker is ready to serve."""
    return _bind(*bound.getsockname()[:2], several=True)


def _bind(host: str, port: int, *, several: bool = False) -> socket.socket:
    """A socket at this address; `several` of one user may be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if several:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    bound.settimeout(0)
    return bound


class Process:
    """One serving process."""

    def __init__(self, launch: Launch) -> None:
        config = launch.config
        self._launch = launch
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskGroup("main")
        self._stopping = False
        self._supervisor = os.getppid() if launch.metrics_dir is not None else None
        self._cells = Cells(launch.metrics_dir, WORKER.format(launch.worker))
        self._successor = bool(self._cells.catalogue)
        """Whether it takes the place of a worker that died: then the supervisor's configuration may be out of date."""
        shared = launch.metrics_dir is not None
        self._files = Files(launch.metrics_dir) if launch.metrics_dir is not None else None
        self._listener = _beside(launch.listeners.callers) if shared else launch.listeners.callers
        self._telemetry = telemetry = Telemetry(self._cells)
        self._log = LineLog(config.telemetry.log, telemetry.counter(DROPPED, "log_lines"), shared=shared)
        self._fleet = Fleet(lambda: self._reloader.config, launch.metrics_dir)
        self._outbox, self._vigil = Outbox(self._loop), self._make_vigil(config)
        self._transport = HttpTransport(self._outbox, self._vigil)
        services = members(lambda: self._reloader.config, self._transport)
        self._guards = Guards(config.guards, {**self._fleet.members, **services})
        self._books = Books(config.stores, telemetry)
        self._directory = Directory(self._books.database)
        self._keys = StoredKeys(self._directory, config.stores, config.server.workers)
        self._steering = Steering(
            self._books.database, telemetry, self._loop.time, lambda: self._reloader.config, self._rebuild
        )
        self._state = tables.State(self._table(config))
        self._limits = self._make_limits(config)
        self._reloader = Reloader(
            launch.path,
            self._state,
            config,
            os.environ,
            overrides=launch.overrides,
            on_reload=[self._reloaded],
            make=self._table,
        )
        self._reloader.prepare = self._prepare
        self._endpoints = Endpoints(self._loop.time)
        self._admission = Admission(self._state)
        attempts = Attempts(telemetry, self._loop.time)
        caller = Caller(
            self._transport, DIALECTS, self._endpoints, RetryBudgets(telemetry), attempts, self._books.ledger
        )
        self._collector = self._make_collector(config)
        watched = config.telemetry
        dropped = telemetry.counter(DROPPED, "spans")
        self._redactor = Redactor(config.guards) if watched.capture_content else None
        tracer = Tracer(self._collector, watched.trace_sample, watched.trace_slow, dropped, self._redactor)
        recorder = Recorder(telemetry, self._log, tracer, watched.metrics_tenants, watched.access_log)
        self._shadows = self._make_shadows(attempts, config.server.workers, tracer)
        self._counter = PromptCounter(self._transport, self._endpoints)
        fitter = Fitter(self._counter, telemetry)
        self._services = Services(
            self._state, self._admission, fitter, Reserver(self._limits.store), caller, self._books.ledger, recorder,
            self._steering.observer, Mirror(self._shadows), tracer, self._guards,
        )  # fmt: skip
        self._servers = self._make_servers(config)
        self._begin_counts(config)
        telemetry.gauge(BUILD_INFO, VERSION).set(1)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then let what runs end, within `server.shutdown_timeout`.

        Raises `ConfigError` where a file that the configuration names is not what it should be.
        """
        for number in (signal.SIGTERM, signal.SIGINT) if self._supervisor is None else (signal.SIGTERM,):
            self._loop.add_signal_handler(number, self.stop)
        self._loop.add_signal_handler(signal.SIGHUP, self._reloader.ask)
        if self._successor:
            await self._reloader.reload()
        await asyncio.to_thread(self._counter.prepare, self._reloader.config.deployments)
        prober = Prober(self._state, self._endpoints, self._transport, self._telemetry, self._loop.time)
        self._tasks.spawn("health", prober.run())
        engines = Engines(self._state, self._endpoints, self._transport, self._telemetry, self._loop.time)
        self._tasks.spawn("engines", engines.run())
        self._tasks.spawn("config", self._reloader.watch())
        self._books.start(self._tasks)
        await self._keys.start(self._tasks)  # what budgets there are comes before what was spent of them
        await self._limits.start(self._tasks)
        self._steering.start(self._tasks)
        self._tasks.spawn("shadow-comparisons", self._comparisons.run())
        if self._collector is not None:
            self._tasks.spawn("spans", self._collector.run())
        self._tasks.spawn("process", watch_process(self._telemetry, self._transport, self._cells))
        # Every async generator of the path is closed by `aclosing`: the loop need not keep track of them (1 µs each).
        sys.set_asyncgen_hooks(None, None)
        spare_collections()
        if not await self._fleet.start():
            _log.error("the models of the guards are not ready yet: until they are, `on_error` says what happens")
        sys.setswitchinterval(_YIELD)
        come_soon()
        self._listener.listen(_BACKLOG)
        self._announce()
        try:
            await asyncio.gather(*(server.serve(sockets=[bound]) for server, bound in self._servers))
        finally:
            await self._cut()
            await self._limits.aclose()
            await self._tasks.aclose()
            self._counter.close()
            await self._fleet.aclose()
            await self._shadows.aclose()
            await self._comparisons.flush()
            await self._steering.aclose()
            await self._books.aclose()
            if self._collector is not None:
                await self._collector.aclose()
            await self._transport.aclose()
            self._log.close()

    def stop(self) -> None:
        """Stop taking requests; a second call stops waiting for those that run."""
        for server, _ in self._servers:
            server.force_exit = self._stopping
            server.should_exit = True
        self._stopping = True

    async def _cut(self) -> None:
        """End the requests that still run: each is settled and recorded before the log is closed."""
        running = [task for server, _ in self._servers for task in server.server_state.tasks]
        for task in running:
            if not task.cancelling():
                task.cancel()
        if running:
            await asyncio.wait(running, timeout=_CUT_WITHIN)

    async def reload(self) -> JsonObject:
        """Read the configuration again, here and, through the supervisor, in the other workers."""
        result = await self._reloader.reload()
        if self._supervisor is not None and self._supervisor == os.getppid() and not result.problems:
            os.kill(self._supervisor, signal.SIGHUP)
        return _document(result)

    def _table(self, config: Config) -> tables.Table:
        """The table of a configuration, with the keys and the weights that the database holds."""
        return self._steering.finish(tables.build(config, self._keys.people))

    def _prepare(self, wanted: Config) -> None:
        """Compile and load, off the loop, what a configuration that is about to be in force needs.

        Raises `ConfigError` where a file that it names is not what it should be.
        """
        self._counter.prepare(wanted.deployments)
        self._guards.prepare(wanted.guards)
        if self._redactor is not None:
            self._redactor.prepare(wanted.guards)

    def _begin_counts(self, config: Config) -> None:
        """Counters that rarely move begin at 0: an alert sees the first failure, and a board that there is none."""
        stages = [stage for guard in config.guards for stage in (guard.prompt, guard.completion) if stage is not None]
        for detector in {str(detector) for stage in stages for detector in stage.detectors}:
            for reason in ("error", "timeout"):
                self._telemetry.counter(GUARD_FAILURES, detector, reason)

    def _rebuild(self) -> None:
        self._reloader.rebuild()

    def _reloaded(self, result: ReloadResult) -> None:
        document = _document(result)
        Protocol.bounds = _bounds(self._reloader.config)
        self._fleet.look()
        self._begin_counts(self._reloader.config)
        self._telemetry.counter(CONFIG_RELOADS, document["result"]).inc()
        self._steering.rollouts.warn()
        if result.changed or result.problems:
            _log.log(logging.ERROR if result.problems else logging.INFO, "config reload", extra=document)

    def _make_vigil(self, config: Config) -> Vigil:
        server = config.server
        return Vigil(self._loop, server.busy_poll, server.busy_poll_in_flight, lambda: self._admission.in_flight)

    def _make_collector(self, config: Config) -> Collector | None:
        url = config.telemetry.otlp_endpoint
        if url is None:
            return None
        telemetry = self._telemetry
        counts = (
            telemetry.counter(SPANS),
            telemetry.counter(DROPPED, "spans"),
            telemetry.gauge(QUEUE_LENGTH, "spans"),
        )
        who = (
            ("service.name", "sluicegate"),
            ("service.version", VERSION),
            ("service.instance.id", f"{socket.gethostname()}-{os.getpid()}"),
        )
        return Collector(self._transport, url, tables.headers_of(config.telemetry.otlp_headers), who, counts)

    def _make_shadows(self, attempts: Attempts, workers: int, tracer: Tracer) -> Shadows:
        dropped = self._telemetry.counter(DROPPED, "shadow_rows")
        self._comparisons = Comparisons(self._books.database, dropped)
        caller = Caller(self._transport, DIALECTS, self._endpoints, NoRetries(), attempts, self._books.ledger)
        # Workers share their budgets, or there is one of them.
        purse = self._limits.store if self._limits.shared else LocalPurse(self._books.rows)
        comparing = Comparing(self._comparisons, self._guards, self._fleet.likeness, self._redactor)
        return Shadows(
            self._state, self._admission, caller, self._books.ledger, purse, comparing,
            (self._telemetry, tracer), (self._launch.worker, workers),
        )  # fmt: skip

    def _make_limits(self, config: Config) -> Limits:
        stores, workers = config.stores, config.server.workers
        return Limits(stores, workers, self._books, self._state, self._telemetry, self._keys.known)

    def _make_servers(self, config: Config) -> list[tuple[uvicorn.Server, socket.socket]]:
        Protocol.bounds, Protocol.outbox, Protocol.vigil = _bounds(config), self._outbox, self._vigil
        operators = Operators(self._state)
        callers = GatewayApp(Hot(self._services), VERSION)
        callers.include_router(catalogue(self._state))
        path = self._services
        callers.include_router(moderations(self._state, self._admission, self._guards, path.recorder, path.tracer))
        callers.include_router(own_usage(self._state, self._books.told))
        callers.include_router(feedback(self._state, FeedbackStore(self._books.database), self._telemetry))
        callers.include_router(probes(self._readiness))
        ops_socket = self._launch.listeners.ops
        open_to_strangers = ops_socket is None and not is_loopback(config.server.host)
        ops = callers if ops_socket is None else ops_app(VERSION, callers)
        ops.include_router(metrics(self._read_cells, operators.viewer if open_to_strangers else None))
        ops.include_router(config_admin(operators, lambda: redacted(self._reloader.config), self.reload))
        ops.include_router(directory_admin(operators, self._directory, self._keys.refresh))
        ops.include_router(shadow_report(operators, self._state, self._comparisons))
        ops.include_router(rollout_admin(operators, self._steering.rollouts, self._steering.rollouts))
        ops.include_router(usage_admin(operators, self._books.told))
        ops.include_router(budgets_admin(operators, self._limits.documents))
        servers = [(self._server(callers, config), self._listener)]
        if ops_socket is not None:
            ops.include_router(probes(self._readiness))
            servers.append((self._server(ops, config), ops_socket))
        return servers

    def _server(self, app: Any, config: Config) -> uvicorn.Server:
        settings = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            interface="asgi3",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=math.ceil(config.server.shutdown_timeout),
            backlog=_BACKLOG,
        )
        return _Server(settings)

    def _read_cells(self) -> Iterable[tuple[Series, tuple[float, ...]]]:
        if self._files is not None:
            return self._files.read()
        return self._cells.read()

    def _readiness(self) -> dict[str, str]:
        deployments = self._state.table.deployments.values()
        checks = {f"deployment {one.name}": describe(one, self._endpoints) for one in deployments}
        # One that is due for a trial counts: were nobody sent here, it could never come back.
        served = any(self._endpoints.may_serve(one) for one in deployments)
        gateway = "ok" if served else "no deployment has an endpoint that is up"
        if self._limits.serves_nobody:
            gateway = "every request needs the limit store"
        if self._stopping:
            gateway = "shutting down"
        limits = self._limits.reason or "ok"
        return {"gateway": gateway, "limits": limits, "ledger": self._books.reason or "ok", **checks}

    def _announce(self) -> None:
        listeners = self._launch.listeners
        where: JsonObject = {
            "url": _url(listeners.callers),
            "worker": self._launch.worker,
            "pid": os.getpid(),
            "compiled": state(),
        }
        if listeners.ops is not None:
            where["ops_url"] = _url(listeners.ops)
        _log.info("listening", extra=where)


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: two of them share one process."""

    def capture_signals(self) -> Any:
        return nullcontext()


def _bounds(config: Config) -> Bounds:
    server = config.server
    return Bounds(head=server.header_timeout, body=server.body_timeout, idle=server.keep_alive)


def _document(result: ReloadResult) -> JsonObject:
    return {
        "result": "refused" if result.problems else "changed" if result.changed else "unchanged",
        "version": result.version,
        "problems": as_json(result.problems),
        "warnings": as_json(result.warnings),
    }


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
