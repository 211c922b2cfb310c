"""How an answer goes out: its head, what leaves when, and how it ends, faults included."""

from __future__ import annotations

from tests.upstream import render
from tests.upstream.behaviour import Behaviour
from tests.upstream.dialect import Dialect, Step
from tests.upstream.openai_errors import default_message
from tests.upstream.play import Plan
from tests.upstream.recall import Known
from tests.upstream.wire import EVENTS, Exchange, head

OPENAI_HEADERS = (
    b"openai-organization: org-fake\r\nopenai-processing-ms: 7\r\nopenai-version: 2020-10-01\r\n"
    b"x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\nx-ratelimit-reset-requests: 6ms\r\n"
    b"set-cookie: __cf_bm=fake; path=/; HttpOnly\r\n"
)
BROKEN = (
    b'{"id":"chatcmpl-broken","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"cut off he'
)
_SURPLUS = 7  # bytes that a truncated answer promises and does not send


def silence(behaviour: Behaviour | None = None) -> Plan:
    """No answer at all: for ever, or until the connection breaks."""
    if behaviour is None or behaviour.cut is None:
        return Plan(b"", [], 0, 0, 0, end="hangs")
    return Plan(b"", [], behaviour.first, behaviour.first, 0, end=behaviour.cut)


def stream(exchange: Exchange, known: Known, dialect: Dialect) -> Plan:
    """A stream."""
    ask, record = known.ask, exchange.record
    behaviour, finish, end = ask.behaviour, known.finish, "done"
    steps = [] if behaviour.empty else dialect.steps(ask, known.made)
    record.reported = known.made.usage if ask.include_usage else None
    if behaviour.error_event is not None:
        record.fault, finish = "error-event", "error"
        steps = [*steps[: behaviour.error_event[0]], Step(error_events(dialect, behaviour), 0)]
    if behaviour.bad_json is not None:
        record.fault = "bad-json"
        steps.insert(min(behaviour.bad_json, len(steps) - 1), Step([BROKEN], 0))
    if behaviour.cut is not None:
        record.fault = behaviour.cut
        steps = steps[: behaviour.cut_after]
        end = "closes" if behaviour.cut == "truncated" else behaviour.cut
    if record.fault:
        record.reported = None
    timed = render.stream(steps, behaviour, ends=end == "done", named=dialect.named)
    extra = extra_headers(behaviour, closing=exchange.close)
    record.writes = [] if behaviour.clocked else None
    start = head(200, kind=EVENTS, chunked=not behaviour.until_close, extra=extra)
    pace = behaviour.pace * behaviour.multi * behaviour.joined
    return Plan(start, timed, behaviour.head, behaviour.head + behaviour.first, pace, end, finish)


def whole(exchange: Exchange, known: Known) -> Plan:
    """A JSON answer: one step, when the last token is made."""
    behaviour, record, made = known.ask.behaviour, exchange.record, known.made
    body, end = known.body(), "done"
    record.reported = made.usage
    if behaviour.bad_json is not None or behaviour.empty == "body":
        record.fault, record.reported = "bad-json", None
        body = body[: len(body) // 2] if behaviour.bad_json is not None else b""
    if behaviour.gzip:
        body = render.whole(body, behaviour)
    length = len(body)
    if behaviour.cut is not None:
        record.fault, record.reported = behaviour.cut, None
        truncated = behaviour.cut == "truncated"
        end = "closes" if truncated else behaviour.cut
        length += _SURPLUS if truncated else 0
        body = body if truncated else body[: length // 2]
    extra = extra_headers(behaviour, closing=exchange.close)
    start = head(200, length=None if behaviour.until_close else length, extra=extra)
    first = behaviour.head + behaviour.first
    wait = first + behaviour.pace * max(made.longest - 1, 0)
    return Plan(
        start, [(body, made.made)], wait, wait, 0, end, known.finish, behaviour.pace / (len(made.choices) or 1), first
    )


def error_events(dialect: Dialect, behaviour: Behaviour) -> list[bytes]:
    """The events of an error in a stream."""
    status = behaviour.error_event[1] if behaviour.error_event else 500
    done = dialect.last_event() if behaviour.done else None
    return [dialect.error_event(status, default_message(status), openai=behaviour.openai)] + ([done] if done else [])


def extra_headers(behaviour: Behaviour, *, closing: bool) -> bytes:
    """Header lines that the behaviour adds."""
    lines = OPENAI_HEADERS if behaviour.openai else b""
    if behaviour.gzip:
        lines += b"content-encoding: gzip\r\n"
    return lines + b"connection: close\r\n" if closing else lines
