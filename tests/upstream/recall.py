"""Reads a request only once if the same bytes come again, as they do in a benchmark.

All that an answer depends on stands in the request's body, but its id and the time; so both the reading and the
non-streamed body are kept and get a new id and time.
"""

from __future__ import annotations

import time

import orjson

from tests.upstream import engine
from tests.upstream.behaviour import Behaviour
from tests.upstream.dialect import Answer, Ask, Dialect
from tests.upstream.state import State
from tests.upstream.wire import Exchange

_LONGEST = 16384  # bytes of a body that is kept
_MOST = 512  # bodies


class Known:
    """A request that was read, and its answer."""

    __slots__ = ("_parts", "ask", "at_once", "dialect", "finish", "made")

    def __init__(self, ask: Ask, dialect: Dialect) -> None:
        self.ask = ask
        self.dialect = dialect
        self.made: Answer = engine.answer(ask)
        self.finish = self.made.choices[0].finish if self.made.choices else "stop"
        self.at_once = not ask.stream and _plain(ask.behaviour)
        self._parts: tuple[bytes, bytes, bytes] | None = None

    def body(self) -> bytes:
        """The non-streamed answer."""
        ask = self.ask
        if self._parts is None:
            body = self.dialect.whole(ask, self.made)
            before, id_found, rest = body.partition(orjson.dumps(ask.answer_id))
            between, time_found, after = rest.partition(b'"created":%d' % ask.created)
            if id_found and time_found and not ask.tools:
                self._parts = (before, between, after)
            return body
        before, between, after = self._parts
        return b'%b%b%b"created":%d%b' % (before, orjson.dumps(ask.answer_id), between, ask.created, after)


def _plain(behaviour: Behaviour) -> bool:
    """Whether a whole answer needs no plan: it is good, and comes at once."""
    slow = behaviour.first or behaviour.head or behaviour.pace
    odd = behaviour.html or behaviour.empty or behaviour.gzip or behaviour.until_close or behaviour.bad_json is not None
    return not (slow or odd or behaviour.cut)


class Recall:
    """The requests that were read last."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._known: dict[tuple[str, bytes], Known] = {}
        self._generation = 0

    def read(self, exchange: Exchange, dialect: Dialect) -> Known:
        """What the request means, and the answer. Raises Refused."""
        state = self._state
        if self._generation != state.generation:
            self._known.clear()
            self._generation = state.generation
        key = (exchange.path, exchange.body)
        known = self._known.get(key)
        if known is None:
            known = Known(dialect.read(exchange, state.settings, time.time()), dialect)
            if len(exchange.body) <= _LONGEST and not known.ask.tools:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[key] = known
        else:
            exchange.record.model = known.ask.model
            dialect.identify(known.ask, exchange, time.time())
        return known
