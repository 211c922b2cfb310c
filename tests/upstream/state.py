"""What the server remembers: settings that a test may change, counters, the log of requests, and violations."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TextIO

import orjson

from tests.upstream.words import Vocabulary


@dataclass(slots=True)
class Settings:
    """What `POST /_control/set` changes; `POST /_control/reset` brings the start-up values back."""

    health: int = 200
    engine: str = "ok"  # ok | dead (chat 500, health 503) | draining (chat 500, health 200) | silent (streams freeze)
    asleep: bool = False  # /metrics says that the engine sleeps; /health says 200 all the same, as with vLLM
    kv_cache: float | None = None  # what /metrics says of the KV cache, instead of what follows from the load
    fingerprint: str = "fp_fake"
    flavour: str = "vllm"  # vllm | openai
    aliases: dict[str, str] = field(default_factory=dict)
    max_running: int | None = None  # more at the same time are refused with 503
    overload: str = "status"  # status | event: streams get HTTP 200 whose first event is the 503
    keep_alive: float = 5.0  # seconds an idle connection is kept, as uvicorn and so vLLM does
    max_body_bytes: int | None = None  # longer bodies get 413 before they are read
    api_key: str | None = None  # then /v1/* wants it as a bearer token
    expect_authorization: str | None = None  # the exact header; "" means: none may come
    expect_headers: dict[str, str] = field(default_factory=dict)  # exact values
    expect_request_id: bool = False
    forbid: list[str] = field(default_factory=list)  # strings that may stand nowhere in a request (a caller's secret)
    allow: list[str] = field(default_factory=list)  # kinds of violation that are not recorded

    @property
    def expects(self) -> bool:
        """Whether anything is said about the values of headers or the strings in a request."""
        return bool(
            self.forbid or self.expect_headers or self.expect_request_id or self.expect_authorization is not None
        )


@dataclass(slots=True, eq=False)
class Record:
    """One request, as `GET /_control/log` shows it. Times are `time.monotonic()`, comparable on one machine.

    `made` is what the engine produced by its own clock (what a provider could bill), `written` what went into the
    socket. `reported` is what usage said, None where none was sent. `gone` is when the caller's leaving was noticed.
    """

    seq: int
    connection: int
    nth: int  # on its connection, from 1
    started: float
    method: str = ""
    path: str = ""
    headers: tuple[str, ...] = ()
    id: str | None = None
    answer_id: str | None = None
    model: str | None = None
    stream: bool = False
    status: int = 0
    fault: str | None = None
    prompt_tokens: int = 0
    made: int = 0
    written: int = 0
    reported: tuple[int, int] | None = None
    first: float | None = None
    ended: float | None = None
    gone: float | None = None
    writes: list[float] | None = None  # when each step was written; kept for models that are `clocked`
    complete: bool = False  # the whole answer that the behaviour wanted was written

    def document(self) -> dict[str, Any]:
        """The record as JSON."""
        return asdict(self)


@dataclass(slots=True, eq=False)
class Received:
    """A request as it came, for `GET /_control/requests` and `--record`."""

    seq: int
    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def document(self) -> dict[str, Any]:
        """The request as JSON; the body as text."""
        return {
            "seq": self.seq,
            "method": self.method,
            "path": self.path,
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers],
            "body": self.body.decode("utf-8", "replace"),
        }


_KEPT_BODIES = 100
_KEPT_BODY_BYTES = 1 << 20


class State:
    """All of the server's memory. Bounded: the oldest log lines and request bodies leave first."""

    def __init__(
        self, settings: Settings, *, keep: int = 50_000, log: TextIO | None = None, record: TextIO | None = None
    ) -> None:
        self._initial = orjson.dumps(asdict(settings))
        self._log_file = log
        self._record_file = record
        self.settings = settings
        self.generation = 0  # grows with every change of the settings
        self.log: deque[Record] = deque(maxlen=keep)
        self.requests: deque[Received] = deque(maxlen=_KEPT_BODIES)
        self.vocabulary = Vocabulary()
        self.seq = 0
        self.accepted = 0
        self.open_connections = 0
        self.running = 0
        self.open_streams = 0
        self.clear()

    def clear(self) -> None:
        """Forget counters, log and violations. Numbers of requests and connections go on."""
        self.violations: list[dict[str, Any]] = []
        self.per_model: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.finished: Counter[str] = Counter()
        self.totals: Counter[str] = Counter()
        self.connections = 0  # since the last reset; those that control requests come on are not counted
        self.log.clear()
        self.requests.clear()

    def reset(self) -> None:
        """`clear`, and the settings of the start."""
        self.clear()
        self.settings = Settings(**orjson.loads(self._initial))
        self.generation += 1

    def change(self, wanted: dict[str, Any]) -> None:
        """Set some settings. Raises KeyError for a name that is none, ValueError for a value that is none."""
        names = {f.name for f in fields(Settings)}
        for name, value in wanted.items():
            if name not in names:
                raise KeyError(name)
            allowed = {
                "engine": ("ok", "dead", "draining", "silent"),
                "flavour": ("vllm", "openai"),
                "overload": ("status", "event"),
            }.get(name)
            if allowed and value not in allowed:
                message = f"{name} is one of {', '.join(allowed)}"
                raise ValueError(message)
        for name, value in wanted.items():
            setattr(self.settings, name, value)
        self.generation += 1

    def violation(self, kind: str, detail: str, record: Record | None = None) -> None:
        """Something that must not happen did. A test's teardown finds it."""
        if kind in self.settings.allow:
            return
        self.totals["violations"] += 1
        where = {"seq": record.seq, "id": record.id, "path": record.path, "model": record.model} if record else {}
        if len(self.violations) < 1000:
            self.violations.append({"kind": kind, "detail": detail[:4000], **where})

    def began(self, received: Received) -> None:
        """A request has been read."""
        if self._record_file:
            self._record_file.write(orjson.dumps(received.document()).decode() + "\n")
            self._record_file.flush()
        self.requests.append(received if len(received.body) <= _KEPT_BODY_BYTES else replace(received, body=b""))

    def ended(self, record: Record, finish: str) -> None:
        """A request is over: `finish` is stop, length, tool_calls, abort or error."""
        record.ended = time.monotonic()
        totals = self.totals
        totals["requests"] += 1
        totals["prompt_tokens"] += record.prompt_tokens
        totals["made"] += record.made
        totals["written"] += record.written
        totals["disconnects"] += record.gone is not None
        self.statuses[record.status] += 1
        self.finished[finish] += 1
        self.log.append(record)
        if self._log_file:
            self._log_file.write(orjson.dumps(record.document()).decode() + "\n")
            self._log_file.flush()

    def stats(self) -> dict[str, Any]:
        """`GET /_control/stats`."""
        totals = ("requests", "prompt_tokens", "made", "written", "disconnects", "violations")
        return {
            **{name: self.totals[name] for name in totals},
            "statuses": {str(status): number for status, number in sorted(self.statuses.items())},
            "per_model": dict(self.per_model),
            "running": self.running,
            "open_streams": self.open_streams,
            "connections": self.connections,
            "open_connections": self.open_connections,
        }
