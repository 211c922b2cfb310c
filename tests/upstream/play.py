"""Plays an answer in time: waits, writes, notices that the caller has left, and breaks off where that is the behaviour.

One `call_later` at a time per answer, no task. The clock of the imagined engine runs on whether or not the caller
reads: `made` follows the clock, `written` the socket.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from tests.upstream.render import Timed
from tests.upstream.state import State
from tests.upstream.wire import Exchange

_EARLY = 0.0005  # seconds; uvloop's timers have whole milliseconds, so a step may leave half of one too soon
_BATCH = 64  # steps written before other connections get their turn
_LINGER = 0.005  # seconds between the last byte and a broken connection, so that the byte arrives first


@dataclass(slots=True)
class Plan:
    """How an answer goes out. Times are seconds from the request's arrival."""

    head: bytes
    timed: list[Timed]
    head_at: float
    first_at: float
    pace: float  # between steps
    end: str = "done"  # done | hangs | dies | closes
    finish: str = "stop"
    token_pace: float = 0.0  # a non-streamed answer is one step, but its tokens are made one after the other
    token_first_at: float = 0.0


class Player:
    """One answer that takes time."""

    __slots__ = ("_exchange", "_frozen", "_handle", "_head_sent", "_loop", "_next", "_owner", "_start", "plan", "state")

    def __init__(self, exchange: Exchange, plan: Plan, state: State, owner: set[Player]) -> None:
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._start = exchange.record.started
        self._owner = owner
        self._handle: asyncio.TimerHandle | None = None
        self._next = 0
        self._head_sent = False
        self._frozen = False
        self.plan = plan
        self.state = state

    def begin(self) -> None:
        """Start; returns at once."""
        self.state.running += 1
        self.state.open_streams += self._exchange.record.stream
        self._owner.add(self)
        self._exchange.on_gone = self._gone
        self._exchange.connection.on_resume = self._resume
        self._tick()

    def freeze(self) -> None:
        """Not a byte more, and not a token, but the connection stays."""
        self._halt()
        self._frozen = True

    def break_with(self, last: bytes) -> None:
        """Write `last` and end; a stream's head is out already."""
        self._halt()
        self._exchange.write(last)
        self._over("error")

    @property
    def exchange(self) -> Exchange:
        """What is being answered."""
        return self._exchange

    @property
    def streaming(self) -> bool:
        """Whether the head has gone out."""
        return self._head_sent

    def abandon(self) -> None:
        """Forget the answer: somebody else answers, or nobody."""
        self._halt()
        self._leave()

    def _resume(self) -> None:
        """The caller reads again; a sleep that has not ended yet goes on."""
        if self._handle is None:
            self._tick()

    def _tick(self) -> None:
        """Write what is due, then sleep until the next step is."""
        self._handle = None
        connection = self._exchange.connection
        if self._frozen or connection.paused:
            return
        plan, now = self.plan, time.monotonic() - self._start
        data = b""
        if not self._head_sent:
            if now + _EARLY < plan.head_at:
                self._sleep(plan.head_at - now)
                return
            self._head_sent = True
            data = plan.head
        at, upto = self._next, min(self._due(now), self._next + _BATCH)
        if upto == at + 1:
            step, tokens = plan.timed[at]
            data += step
            self._exchange.record.written += tokens
        elif upto > at:
            data += b"".join([step for step, _ in plan.timed[at:upto]])
            self._exchange.record.written += sum([tokens for _, tokens in plan.timed[at:upto]])
        self._next = upto
        if data:
            if upto > at and self._exchange.record.writes is not None:
                self._exchange.record.writes += [time.monotonic()] * (upto - at)
            self._exchange.write(data)
        if upto == len(plan.timed):
            self._end()
        else:
            self._sleep(plan.first_at + plan.pace * upto - (time.monotonic() - self._start))

    def _due(self, now: float) -> int:
        """How many steps should have left by now."""
        plan = self.plan
        late = now + _EARLY - plan.first_at
        if late < 0:
            return 0
        total = len(plan.timed)
        return total if plan.pace <= 0 else min(total, int(late / plan.pace) + 1)

    def _sleep(self, seconds: float) -> None:
        self._handle = self._loop.call_later(max(seconds, 0), self._tick)

    def _halt(self) -> None:
        """Stop at once, and say what had been made by then."""
        if self._handle:
            self._handle.cancel()
            self._handle = None
        if not self._frozen:
            self._exchange.record.made = self._made(time.monotonic() - self._start)

    def _made(self, now: float) -> int:
        """Tokens made by the engine's clock."""
        plan = self.plan
        if plan.token_pace > 0:
            total = sum([tokens for _, tokens in plan.timed])
            since = now - plan.token_first_at
            return min(total, int(since / plan.token_pace) + 1) if since >= 0 else 0
        return sum([tokens for _, tokens in plan.timed[: max(self._due(now), self._next)]])

    def _end(self) -> None:
        record, plan = self._exchange.record, self.plan
        record.made = record.written
        if plan.end == "done":
            record.complete = True
            self._over(plan.finish)
        elif plan.end != "hangs":
            self._handle = self._loop.call_later(_LINGER, self._break_off)

    def _break_off(self) -> None:
        self._leave()
        if self.plan.end == "dies":
            self._exchange.reset()
        else:
            self._exchange.hang_up()

    def _over(self, finish: str) -> None:
        self._leave()
        self._exchange.finish(finish)

    def _leave(self) -> None:
        if self in self._owner:
            self._owner.discard(self)
            self.state.running -= 1
            self.state.open_streams -= self._exchange.record.stream
        self._exchange.on_gone = None

    def _gone(self) -> None:
        """The caller left."""
        self._halt()
        self._leave()
