"""From a request to its answer: read it, decide whether it fails, let the engine answer, plan how that goes out."""

from __future__ import annotations

import time
from collections import Counter

from tests.upstream import checks, engine, render
from tests.upstream.behaviour import Behaviour
from tests.upstream.dialect import Answer, Ask, Dialect, Refused, Step
from tests.upstream.openai_errors import BUSY, DEAD, RATE, default_message
from tests.upstream.play import Plan, Player
from tests.upstream.render import LAST_CHUNK, chunk
from tests.upstream.state import State
from tests.upstream.wire import EVENTS, Exchange, head

OPENAI_HEADERS = (
    b"openai-organization: org-fake\r\nopenai-processing-ms: 7\r\nopenai-version: 2020-10-01\r\n"
    b"x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\nx-ratelimit-reset-requests: 6ms\r\n"
    b"set-cookie: __cf_bm=fake; path=/; HttpOnly\r\n"
)
HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>"
BROKEN = b'{"id":"chatcmpl-broken","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"cut off he'


class Service:
    """Answers the paths of the dialects."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.players: set[Player] = set()

    def serve(self, exchange: Exchange, dialect: Dialect) -> None:
        """Answer one request."""
        state = self.state
        checks.request(exchange, dialect, state)
        behaviour: Behaviour | None = None
        try:
            self._open(exchange)
            ask = dialect.read(exchange, state.settings, time.time())
            checks.asked(ask, exchange, state)
            behaviour = ask.behaviour
            self._note(exchange, ask)
            if behaviour.cut and behaviour.cut_after is None:
                Player(exchange, Plan(b"", [], behaviour.first, behaviour.first, 0, end=behaviour.cut), state, self.players).begin()
                return
            self._admit(ask)
            _fail(behaviour, state.per_model, ask.model)
            self._answer(exchange, ask, dialect)
        except Refused as refused:
            if refused.violation:
                state.violation(refused.violation, refused.message, exchange.record)
            self._refuse(exchange, dialect, refused, behaviour)

    def _open(self, exchange: Exchange) -> None:
        """What is refused before the body is looked at."""
        settings = self.state.settings
        exchange.record.id = (exchange.header(b"x-request-id") or b"").decode("latin-1") or None
        if settings.max_body_bytes is not None and len(exchange.body) > settings.max_body_bytes:
            raise Refused(413, "too large")
        if settings.api_key is not None and exchange.header(b"authorization") != b"Bearer " + settings.api_key.encode():
            raise Refused(401, default_message(401))

    def _note(self, exchange: Exchange, ask: Ask) -> None:
        """Write down what was asked."""
        record, behaviour, state = exchange.record, ask.behaviour, self.state
        record.answer_id, record.stream, record.prompt_tokens = ask.answer_id, ask.stream, ask.prompt_tokens
        state.per_model[ask.model] += 1
        if behaviour.close:
            exchange.close = True
        if behaviour.health is not None:
            state.settings.health = behaviour.health
        if behaviour.early_hints:
            exchange.write(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n")

    def _admit(self, ask: Ask) -> None:
        """The state of the whole engine."""
        settings = self.state.settings
        if settings.engine in {"dead", "draining"}:
            raise Refused(500, DEAD)
        if settings.max_running is not None and self.state.running >= settings.max_running:
            raise Overloaded(ask)

    def _refuse(self, exchange: Exchange, dialect: Dialect, refused: Refused, behaviour: Behaviour | None) -> None:
        """Answer with an error."""
        settings = self.state.settings
        as_openai = behaviour.openai if behaviour else settings.flavour == "openai"
        record = exchange.record
        record.fault = record.fault or str(refused.status)
        if isinstance(refused, Overloaded) and refused.ask.stream and settings.overload == "event":
            record.status = 200
            exchange.write(head(200, kind=EVENTS, chunked=True) + self._error_events(dialect, 503, BUSY, as_openai=as_openai))
            exchange.finish("error")
            return
        extra = OPENAI_HEADERS if as_openai else b""
        if isinstance(refused, Limited):
            extra += b"retry-after: %d\r\n" % refused.retry_after
        exchange.reply(refused.status, dialect.error(refused.status, refused, openai=as_openai), extra=extra, finish="error")

    def _error_events(self, dialect: Dialect, status: int, message: str, *, as_openai: bool) -> bytes:
        """An error in a stream, and the end of it."""
        done = dialect.last_event()
        events = [dialect.error_event(status, message, openai=as_openai)] + ([done] if done else [])
        return b"".join([chunk(b"data: %b\n\n" % each) for each in events]) + LAST_CHUNK

    def _answer(self, exchange: Exchange, ask: Ask, dialect: Dialect) -> None:
        """The good case, and every fault that begins like one."""
        behaviour, record = ask.behaviour, exchange.record
        record.status = 200
        if ask.operation == "embeddings":
            made = Answer([], 0, (ask.prompt_tokens * behaviour.usage_factor, 0) if behaviour.usage_factor else None)
        else:
            made = engine.answer(ask)
        finish = made.choices[0].finish if made.choices else "stop"
        if self.state.settings.engine == "silent":
            Player(exchange, Plan(b"", [], 0, 0, 0, end="hangs"), self.state, self.players).begin()
        elif behaviour.html:
            record.fault = "html"
            exchange.reply(200, HTML, kind=b"text/html; charset=utf-8", finish="error")
        elif ask.stream:
            record.reported = made.usage if ask.include_usage else None
            Player(exchange, self._stream(exchange, ask, made, dialect, finish), self.state, self.players).begin()
        else:
            record.reported = made.usage
            self._whole(exchange, ask, made, dialect.whole(ask, made), finish)

    def _stream(self, exchange: Exchange, ask: Ask, made: Answer, dialect: Dialect, finish: str) -> Plan:
        """How a stream goes out."""
        behaviour, record = ask.behaviour, exchange.record
        steps = [] if behaviour.empty else dialect.steps(ask, made)
        end = "done"
        if behaviour.error_event is not None:
            after, status = behaviour.error_event
            record.fault, finish = "error-event", "error"
            error = dialect.error_event(status, default_message(status), openai=behaviour.openai)
            done = dialect.last_event() if behaviour.done else None
            steps = [*steps[:after], Step([error] + ([done] if done else []), 0)]
        if behaviour.bad_json is not None:
            record.fault = "bad-json"
            steps.insert(min(behaviour.bad_json, len(steps) - 1), Step([BROKEN], 0))
        if behaviour.cut is not None:
            record.fault = behaviour.cut
            steps = steps[: behaviour.cut_after]
            end = "closes" if behaviour.cut == "truncated" else behaviour.cut
        if record.fault:
            record.reported = None
        timed = render.stream(steps, behaviour, ends=end == "done")
        start = head(200, kind=EVENTS, chunked=not behaviour.until_close, extra=_extra(behaviour, closing=exchange.close))
        pace = behaviour.pace * behaviour.multi * behaviour.joined
        return Plan(start, timed, behaviour.head, behaviour.head + behaviour.first, pace, end, finish)

    def _whole(self, exchange: Exchange, ask: Ask, made: Answer, body: bytes, finish: str) -> None:
        """How a JSON answer goes out."""
        behaviour, record = ask.behaviour, exchange.record
        if behaviour.bad_json is not None or behaviour.empty == "body":
            record.fault, record.reported = "bad-json", None
            body = body[: len(body) // 2] if behaviour.bad_json is not None else b""
        body = render.whole(body, behaviour)
        length, end = len(body), "done"
        if behaviour.cut is not None:
            record.fault, record.reported = behaviour.cut, None
            end = "closes" if behaviour.cut == "truncated" else behaviour.cut
            length += 7 if behaviour.cut == "truncated" else 0
            body = body if behaviour.cut == "truncated" else body[: length // 2]
        extra = _extra(behaviour, closing=exchange.close)
        start = head(200, length=None if behaviour.until_close else length, extra=extra)
        longest = max((choice.tokens for choice in made.choices), default=0)
        wait = behaviour.head + behaviour.first + behaviour.pace * max(longest - 1, 0)
        if not wait and end == "done":
            record.made = record.written = made.made
            record.complete = True
            exchange.write(start + body)
            exchange.finish(finish)
            return
        plan = Plan(start, [(body, made.made)], wait, wait, 0, end, finish)
        plan.token_first_at = behaviour.head + behaviour.first
        plan.token_pace = behaviour.pace / max(len(made.choices), 1)
        Player(exchange, plan, self.state, self.players).begin()

    def engine_died(self, dialect: Dialect) -> None:
        """Every open answer ends as vLLM's do when its engine is killed."""
        for player in list(self.players):
            if player.streaming:
                player.break_with(self._error_events(dialect, 500, DEAD, as_openai=False))
            else:
                player.abandon()
                self._refuse(player.exchange, dialect, Refused(500, DEAD), None)

    def went_silent(self) -> None:
        """Every open answer stops without a word."""
        for player in list(self.players):
            player.freeze()


class Overloaded(Refused):
    """Too many at the same time."""

    def __init__(self, ask: Ask) -> None:
        super().__init__(503, BUSY)
        self.ask = ask


class Limited(Refused):
    """A rate limit, with seconds to wait."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(429, RATE)
        self.retry_after = retry_after


def _extra(behaviour: Behaviour, *, closing: bool) -> bytes:
    """Header lines that the behaviour adds."""
    lines = OPENAI_HEADERS if behaviour.openai else b""
    if behaviour.gzip:
        lines += b"content-encoding: gzip\r\n"
    return lines + b"connection: close\r\n" if closing else lines


def _fail(behaviour: Behaviour, counts: Counter[str], model: str) -> None:
    """Raise what the behaviour wants to fail with, if it is this request's turn."""
    if behaviour.early_413:
        raise Refused(413, default_message(413))
    if behaviour.fail is not None:
        raise Limited(1) if behaviour.fail == 429 else Refused(behaviour.fail, default_message(behaviour.fail))  # noqa: PLR2004
    if behaviour.rate_limited is not None:
        raise Limited(behaviour.rate_limited)
    number = counts[model]
    if behaviour.rate_limited_first and number <= behaviour.rate_limited_first[0]:
        raise Limited(behaviour.rate_limited_first[1])
    if behaviour.fail_first and number <= behaviour.fail_first[0]:
        raise Refused(behaviour.fail_first[1], default_message(behaviour.fail_first[1]))
    if behaviour.flaky and number % behaviour.flaky[0] == 0:
        raise Refused(behaviour.flaky[1], default_message(behaviour.flaky[1]))
