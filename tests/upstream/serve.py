"""From a request to its answer: read it, decide whether it fails, let the engine answer, plan how that goes out."""

from __future__ import annotations

from collections import Counter

from tests.upstream import checks, plan
from tests.upstream.behaviour import Behaviour
from tests.upstream.dialect import Ask, Dialect, Refused
from tests.upstream.openai_errors import BUSY, DEAD, RATE, default_message
from tests.upstream.plan import OPENAI_HEADERS
from tests.upstream.play import Plan, Player
from tests.upstream.recall import Known, Recall
from tests.upstream.render import LAST_CHUNK, chunk, name
from tests.upstream.state import State
from tests.upstream.wire import EVENTS, Exchange, head

HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><center>nginx</center></body></html>"


class Service:
    """Answers the paths of the dialects."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.players: set[Player] = set()
        self._recall = Recall(state)

    def serve(self, exchange: Exchange, dialect: Dialect) -> None:
        """Answer one request."""
        state = self.state
        checks.request(exchange, dialect, state)
        behaviour: Behaviour | None = None
        try:
            self._open(exchange, dialect)
            known = self._recall.read(exchange, dialect)
            ask = known.ask
            behaviour = ask.behaviour
            checks.asked(ask, exchange, state)
            self._note(exchange, ask)
            if behaviour.stale and exchange.record.nth > 1:
                exchange.record.fault = "stale"
                exchange.hang_up()
                return
            if behaviour.cut and behaviour.cut_after is None:
                exchange.record.fault = behaviour.cut
                self._play(exchange, plan.silence(behaviour))
                return
            self._admit(ask)
            _fail(behaviour, state.per_model, ask.model)
            self._answer(exchange, known, dialect)
        except Refused as refused:
            if refused.violation:
                state.violation(refused.violation, refused.message, exchange.record)
            self._refuse(exchange, dialect, refused, behaviour)

    def _open(self, exchange: Exchange, dialect: Dialect) -> None:
        """What is refused before the body is looked at."""
        settings = self.state.settings
        exchange.record.id = (exchange.header(b"x-request-id") or b"").decode("latin-1") or None
        if settings.max_body_bytes is not None and len(exchange.body) > settings.max_body_bytes:
            raise Refused(413, "too large")
        if settings.api_key is not None:
            key = settings.api_key.encode()
            if not {key, b"Bearer " + key} & {exchange.header(name) for name in dialect.credentials}:
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
            exchange.write(
                head(200, kind=EVENTS, chunked=True) + self._error_events(dialect, 503, BUSY, as_openai=as_openai)
            )
            exchange.finish("error")
            return
        extra = OPENAI_HEADERS if as_openai else b""
        usual = behaviour.retry_after if behaviour else None
        wait = refused.retry_after if isinstance(refused, Limited) else usual
        if wait is not None:
            extra += b"retry-after: %d\r\n" % wait
        body = dialect.error(refused.status, refused, openai=as_openai)
        exchange.reply(refused.status, body, extra=extra, finish="error")

    def _error_events(self, dialect: Dialect, status: int, message: str, *, as_openai: bool) -> bytes:
        """An error in a stream, and the end of it."""
        done = dialect.last_event()
        events = [dialect.error_event(status, message, openai=as_openai)] + ([done] if done else [])
        named = [(name(each) if dialect.named else b"") + b"data: %b\n\n" % each for each in events]
        return b"".join(map(chunk, named)) + LAST_CHUNK

    def _answer(self, exchange: Exchange, known: Known, dialect: Dialect) -> None:
        """The good case, and every fault that begins like one."""
        behaviour, record = known.ask.behaviour, exchange.record
        record.status = 200
        if known.at_once and self.state.settings.engine == "ok":
            self._at_once(exchange, known)
        elif self.state.settings.engine == "silent":
            self._play(exchange, plan.silence())
        elif behaviour.html:
            record.fault = "html"
            exchange.reply(200, HTML, kind=b"text/html; charset=utf-8", finish="error")
        elif known.ask.stream:
            self._play(exchange, plan.stream(exchange, known, dialect))
        else:
            self._play(exchange, plan.whole(exchange, known))

    def _at_once(self, exchange: Exchange, known: Known) -> None:
        """The case that a benchmark is made of."""
        record, made = exchange.record, known.made
        record.made = record.written = made.made
        record.reported = made.usage
        record.complete = True
        body = known.body()
        extra = plan.extra_headers(known.ask.behaviour, closing=exchange.close)
        exchange.write(head(200, length=len(body), extra=extra) + body)
        exchange.finish(known.finish)

    def _play(self, exchange: Exchange, how: Plan) -> None:
        Player(exchange, how, self.state, self.players).begin()

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


def _fail(behaviour: Behaviour, counts: Counter[str], model: str) -> None:
    """Raise what the behaviour wants to fail with, if it is this request's turn."""
    if behaviour.early_413:
        raise Refused(413, default_message(413))
    if behaviour.fail is not None:
        raise Limited(1) if behaviour.fail == 429 else Refused(behaviour.fail, default_message(behaviour.fail))
    if behaviour.rate_limited is not None:
        raise Limited(behaviour.rate_limited)
    number = counts[model]
    if behaviour.rate_limited_first and number <= behaviour.rate_limited_first[0]:
        raise Limited(behaviour.rate_limited_first[1])
    if behaviour.fail_first and number <= behaviour.fail_first[0]:
        raise Refused(behaviour.fail_first[1], default_message(behaviour.fail_first[1]))
    if behaviour.flaky and number % behaviour.flaky[0] == 0:
        raise Refused(behaviour.flaky[1], default_message(behaviour.flaky[1]))
