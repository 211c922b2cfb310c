"""The frozen vocabulary: what stages hand to each other. No behaviour beyond what a value can answer about itself.

What is made anew for every request is a named tuple: a frozen dataclass takes three times as long to make.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

JsonObject = dict[str, Any]
"""A parsed JSON object of a caller or an upstream. Only the stages that must read or edit it look inside."""


class Operation(StrEnum):
    """What the caller asked for; the values are OpenTelemetry's `gen_ai.operation.name`."""

    CHAT = "chat"
    COMPLETION = "text_completion"
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"
    SCORE = "score"
    TOKENIZE = "tokenize"
    MODERATION = "moderation"


UPSTREAM_OPERATIONS = tuple(one for one in Operation if one is not Operation.MODERATION)
"""Those for which an upstream is asked."""


class Provider(StrEnum):
    """A dialect of upstream API; the values stand in config."""

    VLLM = "vllm"
    OPENAI = "openai"
    AZURE_OPENAI = "azure_openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"


class Arm(StrEnum):
    """The role in which a deployment served a request."""

    STABLE = "stable"
    CANDIDATE = "candidate"
    FALLBACK = "fallback"
    SHADOW = "shadow"


made: Final = tuple.__new__
"""`made(Call, (...))` is `Call(...)` for whoever gives every field, at a third of the cost."""


class Method(StrEnum):
    """How the tokens of a request were counted; decides what settling may give back."""

    NOTHING_SENT = "nothing_sent"  # no byte reached an upstream: nothing to bill
    EXACT = "exact"  # the provider reported usage
    AT_LEAST = "at_least"  # cut short, or no usage reported: our count; never refunds beyond the allowance
    BOUND = "bound"  # nothing is known: settled at the full reservation


class CountMethod(StrEnum):
    """How the tokens of a prompt were counted before it was sent."""

    EXACT = "exact"  # by the upstream itself, or by its vocabulary where nothing is added to the text
    TOKENIZER = "tokenizer"  # the text by its vocabulary, the chat template at its stated bound: never too low
    BOUND = "bound"  # from bytes: never too low


class Count(NamedTuple):
    """Tokens of a call's prompts: at most `tokens` in all. The longest has at most `longest`, at least `least`."""

    tokens: int
    longest: int
    least: int
    method: CountMethod


class Scaffold(NamedTuple):
    """What a model is told before the caller's own system prompt. `label` names the templates and their versions."""

    label: str
    text: str


class PromptFormat(NamedTuple):
    """How a conversation is written as one text: what stands before and after what each role says.

    `stops` end an answer. `marks` are further texts that a tokenizer reads as more than text, beside all of the form
    `<|name|>`: nobody may say them. `in_user`: system prompts stand inside the user's next message, and neighbouring
    messages of one role are one. `trims`: space around what is said does not count.
    """

    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    stops: tuple[str, ...]
    marks: tuple[str, ...] = ()
    in_user: bool = False
    trims: bool = False

    @property
    def most_bytes(self) -> int:
        """Bytes that it puts around one message, at most."""
        return sum(len(part) for role in (self.system, self.user, self.assistant) for part in role)


class Usage(NamedTuple):
    """Tokens of one request. Cached input is a part of input; reasoning is a part of output: neither is added twice."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    method: Method = Method.EXACT


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `first_token` and `between_tokens` hold for streams only; `total` for everything, retries included."""

    connect: float = 2.0
    first_token: float = 30.0
    between_tokens: float = 20.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One replica's address, taken apart once when the table is loaded.

    `base_path` has no trailing slash (`/v1`). `proxy` and `http2` choose the general client over the fast one.
    Endpoints that compare equal share a connection pool and a health state, across reloads.
    """

    scheme: str
    host: str
    port: int
    base_path: str
    proxy: str | None = field(default=None, repr=False)
    http2: bool = False
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Hash once: every request looks its endpoint up several times."""
        parts = (self.scheme, self.host, self.port, self.base_path, self.proxy, self.http2)
        object.__setattr__(self, "_hash", hash(parts))

    def __hash__(self) -> int:
        return self._hash

    @property
    def authority(self) -> str:
        """The `host` header: the port is named unless it is the scheme's own; IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"http": 80, "https": 443}[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The endpoint as an operator wrote it. For logs; never for callers."""
        return f"{self.scheme}://{self.authority}{self.base_path}"


class Wishes(NamedTuple):
    """What a caller's headers ask of the routing: `x-sluicegate-affinity` and `x-sluicegate-pin`."""

    affinity: str = ""
    pin: str = ""


NO_WISHES = Wishes()


@dataclass(frozen=True, slots=True)
class Result:
    """How one request ended at the arm that it was assigned to, as far as a rollout's gates ask.

    `error` counts against the assigned arm even where a fallback hid it from the caller. `first_token_s` is None where
    none came, and for answers that were not streamed. `left`: the caller left, or was still waiting, before the end.
    `format_ok` is None where no format was asked for, `score` where no feedback was given; scores are in the caller's
    own scale. `void` says nothing about either arm: the request itself was at fault, or the gateway.
    """

    error: bool = False
    streamed: bool = False
    first_token_s: float | None = None
    total_s: float = 0.0
    left: bool = False
    harm: bool = False
    refused: bool = False
    truncated: bool = False
    cost_usd: float = 0.0
    format_ok: bool | None = None
    score: float | None = None
    void: bool = False


class Outbound(NamedTuple):
    """One HTTP request to an upstream, complete but for its endpoint, `host` and `content-length`.

    `path` is what follows the endpoint's base path and begins with a slash (`/chat/completions`), or, with
    `from_root`, replaces the base path (`/health`). `headers` are `name: value` with lower-case names,
    credentials included, neither hop-by-hop headers nor line breaks inside.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    stream: bool
    from_root: bool = False


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: the tenant that pays and the key that was shown. `models` is None where every model is allowed."""

    tenant: str
    key: str
    models: frozenset[str] | None = None
    pin: bool = False
    shadow: bool = True
    """Whether its requests may be copied."""


class Call(NamedTuple):
    """A caller's request after validation.

    `body` is the caller's JSON object, complete. `include_usage` tells whether a streaming caller asked for the
    usage chunk. `max_output_tokens` is the caller's own cap on each answer, None where it gave none; `choices` is how
    many answers are made in all, to so many `prompts` (or inputs); `size` is a bound in bytes of what is read: the
    body's length, more where the upstream reads a part of it several times, 0 where reading costs nothing; `images` is
    how many it holds or points to. `foreign` tells that `body` was translated from another shape and may hold hints
    that OpenAI's API does not know. `plain` tells that the body is ASCII through and through, so that no
    normalisation makes it longer. `media` counts the parts of messages that are neither image nor text. With `soft_cap`
    the cap on the answer may be lowered to what fits: the caller gave none, or the model's policy says so. `scaffolds`
    is what each deployment is told before the caller's own messages, by its name; None where none is told anything.
    """

    operation: Operation
    model: str
    stream: bool
    include_usage: bool
    body: JsonObject
    size: int
    max_output_tokens: int | None = None
    choices: int = 1
    prompts: int = 1
    images: int = 0
    foreign: bool = False
    plain: bool = False
    media: int = 0
    soft_cap: bool = True
    scaffolds: Mapping[str, Scaffold] | None = None

    def without(self, names: frozenset[str]) -> Call:
        """The same request without these fields."""
        return self._replace(body={name: value for name, value in self.body.items() if name not in names})


@dataclass(slots=True, init=False)
class Event:
    """One piece of an answer: a whole JSON body, or one server-sent event of a stream.

    `data` is its JSON text exactly as it came (no `data: ` prefix) and goes to the caller unchanged unless a
    stage replaced it. `doc` is the same, parsed. `tokens` is how many output tokens it is known to carry, at
    least. `hidden` events are for the gateway only: a usage chunk that the caller did not ask for. `error` is the
    HTTP status that the upstream means when the event is an error (OpenAI's shape) inside a 200, else 0.
    """

    data: bytes
    doc: JsonObject
    tokens: int
    usage: Usage | None
    hidden: bool
    error: int

    # A dataclass's own would be interpreted where this module is compiled: 0.4 µs each; so also in `metering`.
    def __init__(
        self,
        data: bytes,
        doc: JsonObject,
        tokens: int = 0,
        usage: Usage | None = None,
        hidden: bool = False,  # noqa: FBT001, FBT002 # a field
        error: int = 0,
    ) -> None:
        self.data = data
        self.doc = doc
        self.tokens = tokens
        self.usage = usage
        self.hidden = hidden
        self.error = error


Batch = list[Event]
"""Events that arrived together. They are looked at one by one and leave in one write."""
