"""What a wire format must be able to do, and the format-free words that it shares with the engine.

A new format is one file with a `Dialect` in it and one line in `server.DIALECTS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.upstream.behaviour import Behaviour
from tests.upstream.state import Settings
from tests.upstream.wire import Exchange


class Refused(Exception):
    """The request is answered with an error, in the words of whoever would refuse it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        kind: str | None = None,
        violation: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.kind = kind  # the error's `type`, where it is not the usual one of its status
        self.violation = violation  # the request should never have been sent


@dataclass(slots=True)
class Ask:
    """A request, read. `prompts` has one text per prompt (chat: the last user message), `sizes` the tokens of each."""

    operation: str  # chat | completion | embeddings | count
    model: str
    behaviour: Behaviour
    doc: dict[str, Any]
    answer_id: str
    created: int
    fingerprint: str
    prompts: list[str]
    prompt_tokens: int
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    choices: int = 1  # `n`
    cap: int | None = None  # of output tokens, per choice
    stop: tuple[str, ...] = ()
    seed: int = 0
    logprobs: int | None = None  # how many alternatives; None: no logprobs
    tools: list[dict[str, Any]] = field(default_factory=list)  # those that the answer must call
    echo: bool = False
    input_ids: list[list[int]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Tool:
    """A tool call of an answer; `parts` are its arguments as tokens."""

    id: str
    name: str
    parts: tuple[str, ...]


@dataclass(slots=True)
class Choice:
    """One answer: its tokens in the order in which they are made."""

    index: int
    content: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    refusal: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    finish: str = "stop"
    stopped: str | None = None  # the stop string that was met

    @property
    def tokens(self) -> int:
        """Tokens made; a tool's name is one."""
        made = len(self.reasoning) + len(self.content) + len(self.refusal)
        return made + sum([1 + len(tool.parts) for tool in self.tools]) if self.tools else made


@dataclass(slots=True)
class Answer:
    """What the engine makes of an `Ask`. `usage` is (prompt, completion) as reported; None: not reported."""

    choices: list[Choice]
    made: int  # tokens of all choices
    longest: int  # tokens of the longest choice: how long it takes
    usage: tuple[int, int] | None


@dataclass(slots=True)
class Step:
    """What leaves at one moment of a stream: whole events (JSON text), and the tokens in them."""

    events: list[bytes]
    tokens: int


class Dialect(Protocol):
    """One wire format. Pure: no I/O, no clock."""

    name: str
    credentials: frozenset[bytes]  # the headers in which it carries its key
    named: bool  # whether its events have names: their `type`

    def claims(self, method: str, path: str) -> bool:
        """Whether this path belongs to the format."""

    def read(self, exchange: Exchange, settings: Settings, now: float) -> Ask:
        """The request's meaning. Raises Refused."""

    def identify(self, ask: Ask, exchange: Exchange, now: float) -> None:
        """Give a request that was read before a new answer's id and time."""

    def whole(self, ask: Ask, answer: Answer) -> bytes:
        """The body of a non-streamed answer."""

    def steps(self, ask: Ask, answer: Answer) -> list[Step]:
        """The stream: one step per moment at which tokens are made, the end with the last."""

    def error(self, status: int, refused: Refused, *, openai: bool) -> bytes:
        """An error's body."""

    def error_event(self, status: int, message: str, *, openai: bool) -> bytes:
        """An error in a stream (JSON text)."""

    def last_event(self) -> bytes | None:
        """What says that a stream is over, if the format has such a thing."""
