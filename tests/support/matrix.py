"""What works: every surface over every provider, feature by feature; `tests/journeys/test_matrix.py` tests each cell.

`docs/providers.md` is written from these declarations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from app.errors import CODES
from app.exchange import JsonObject
from tests.providers.dialogues import PNG
from tests.support.gateway import Gateway
from tests.support.providers import name_of
from tests.support.talk import CHAT, MESSAGES, RESPONSES, SURFACES, Seen, answer, question
from tests.support.upstream import Upstream

PROVIDERS = ("vllm", "openai", "azure_openai", "anthropic", "gemini")
BEHAVIOURS = (
    "echo", "answer-6", "tool-call-2", "reasoning-4+answer-3+cached-1", "content-filter+answer-2", "rate-limited-7",
)  # fmt: skip


@dataclass(slots=True)
class Cell:
    """One surface over one provider, and the machinery to ask it."""

    gateway: Gateway
    upstream: Upstream
    surface: str
    provider: str

    def ask(self, behaviour: str, **wanted: Any) -> Seen:
        """One answer."""
        body = question(self.surface, name_of(self.provider, behaviour), **wanted)
        response = self.gateway.post(self.surface, orjson.dumps(body))
        assert response.status_code == 200, response.text
        return answer(self.surface, response)

    def refused(self, behaviour: str, **wanted: Any) -> Any:
        """One answer that is none."""
        body = question(self.surface, name_of(self.provider, behaviour), **wanted)
        response = self.gateway.post(self.surface, orjson.dumps(body))
        assert response.status_code >= 400, response.text
        return response

    @property
    def sent(self) -> str:
        """The body of the last request that the provider got."""
        body: str = self.upstream.requests()[-1]["body"]
        return body


def both(check: Callable[[Cell, bool], None]) -> Callable[[Cell], None]:
    """Whole, then streamed."""

    def run(cell: Cell) -> None:
        for stream in (False, True):
            check(cell, stream)

    run.__doc__ = check.__doc__
    return run


@both
def text(cell: Cell, stream: bool) -> None:  # noqa: FBT001  # a row
    """The answer's text, whole and streamed."""
    assert cell.ask("answer-6", stream=stream).text == "the river rises behind the gate"


def system(cell: Cell) -> None:
    """A system prompt reaches the provider."""
    assert cell.ask("echo", system="Be very brief.").text == "a b c"
    assert "Be very brief." in cell.sent


def multi_turn(cell: Cell) -> None:
    """Earlier turns reach the provider in their order."""
    assert cell.ask("echo", history=True).text == "a b c"
    assert cell.sent.index('"one"') < cell.sent.index('"two"') < cell.sent.index('"a b c"')


def images(cell: Cell) -> None:
    """An image reaches the provider."""
    assert cell.ask("echo", image=True).text == "a b c"
    assert PNG in cell.sent


@both
def tools(cell: Cell, stream: bool) -> None:  # noqa: FBT001  # a row
    """Parallel tool calls, whole and streamed."""
    seen = cell.ask("tool-call-2", tools=True, choice="required", stream=stream)
    assert [(name, orjson.loads(arguments)["city"]) for _, name, arguments in seen.calls] == [
        ("get_weather", "Paris")
    ] * 2
    assert len({known for known, _, _ in seen.calls}) == 2
    assert seen.end == "tools"


def tool_results(cell: Cell) -> None:
    """Calls and their results go back, and the answer follows."""
    calls = cell.ask("tool-call-2", tools=True).calls
    assert cell.ask("tool-call-2", tools=True, results=calls).end == "stop"
    assert cell.sent.count("18 °C") == 2


def json_schema(cell: Cell) -> None:
    """An answer by a JSON schema."""
    assert orjson.loads(cell.ask("echo", form=True).text) == {"city": "Paris", "days": 1}


def stop(cell: Cell) -> None:
    """Stop strings."""
    seen = cell.ask("echo", stop=["b"])
    assert (seen.text.strip(), seen.end) == ("a", "stop")


def sampling(cell: Cell) -> None:
    """Temperature and top_p."""
    cell.ask("echo", sampling={"temperature": 0.25, "top_p": 0.75})
    assert ":0.25" in cell.sent
    assert ":0.75" in cell.sent


@both
def usage(cell: Cell, stream: bool) -> None:  # noqa: FBT001  # a row
    """Usage with cached and reasoning tokens, each counted once."""
    seen = cell.ask("reasoning-4+answer-3+cached-1", stream=stream)
    read, made, cached, thought = seen.usage
    assert (read > 1, made, cached, thought) == (True, 7, 1, 4)


@both
def reasoning(cell: Cell, stream: bool) -> None:  # noqa: FBT001  # a row
    """What the model thought."""
    seen = cell.ask("reasoning-4+answer-3+cached-1", stream=stream)
    assert (seen.thought, seen.text) == ("the keeper opens it", "the river rises")


@both
def length(cell: Cell, stream: bool) -> None:  # noqa: FBT001  # a row
    """A cap on output, and the end that it brings."""
    seen = cell.ask("answer-6", cap=3, stream=stream)
    assert (seen.text, seen.end, seen.usage[1]) == ("the river rises", "length", 3)


@both
def content_filter(cell: Cell, stream: bool) -> None:  # noqa: FBT001  # a row
    """The provider's filter ends the answer."""
    assert cell.ask("content-filter+answer-2", stream=stream).end == "filter"


def rate_limit(cell: Cell) -> None:
    """A rate limit keeps its `retry-after`, in the caller's shape."""
    response = cell.refused("rate-limited-7")
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert response.json()["error"]["type"] == "rate_limit_error"


def mistakes(cell: Cell) -> None:
    """Errors in the caller's shape, with the contract's codes."""
    body: JsonObject = question(cell.surface, "nobody")
    response = cell.gateway.post(cell.surface, orjson.dumps(body))
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


FEATURES: dict[str, Callable[[Cell], None]] = {
    "text": text, "system prompt": system, "several turns": multi_turn, "images": images,
    "parallel tool calls": tools, "tool results": tool_results, "JSON by a schema": json_schema, "stop strings": stop,
    "sampling": sampling, "cap and its end": length, "usage": usage, "reasoning": reasoning,
    "content filter": content_filter, "rate limit": rate_limit, "errors": mistakes,
}  # fmt: skip


NOT_TOLD = {("reasoning", "openai"), ("reasoning", "azure_openai")}
"""What a provider does not tell in chat completions: it only counts it."""


def rows() -> list[tuple[str, ...]]:
    """The table: a feature, and per provider the surfaces on which it is tested."""
    names = {CHAT: "chat", MESSAGES: "messages", RESPONSES: "responses"}
    tested = ", ".join(names[surface] for surface in SURFACES)
    return [(name, *("not told" if (name, one) in NOT_TOLD else tested for one in PROVIDERS)) for name in FEATURES]


# --- faults

AFTER = 3
FAULTS: dict[str, tuple[str, int, str, int | None]] = {
    "rate limit": ("rate-limited-7", 429, "rate_limit_exceeded", 7),
    "overload": ("fail-503+retry-after-9", 503, "overloaded", 9),
    "credentials of the gateway's": ("fail-401", 502, "upstream_error", None),
    "request refused": ("fail-422", 422, "the upstream's own", None),
    "server error": ("fail-500", 502, "upstream_error", None),
    "no answer in time": ("hangs", 504, "upstream_timeout", None),
    "connection lost": ("dies", 502, "upstream_error", None),
    "an answer that is none": ("html", 502, "upstream_error", None),
}
"""Per fault: how the upstream behaves, and what the caller gets: status, code, `retry-after`."""
IN_STREAM: dict[str, tuple[str, str]] = {
    "error event": (f"error-event-after-{AFTER}-500", "upstream_error"),
    "connection lost": (f"dies-after-{AFTER}", "upstream_error"),
    "silence": (f"hangs-after-{AFTER}", "upstream_timeout"),
    "malformed event": (f"bad-json-{AFTER}", "upstream_error"),
}
"""Per fault inside a stream: how the upstream behaves, and the code of the event that ends it."""


def fault_rows() -> list[tuple[str, ...]]:
    """The table of faults: the same for every provider, each tested with each."""
    before: list[tuple[str, ...]] = [
        (name, f"{status}", f"`{code}`" if code in CODES else code, "kept" if after else "")
        for name, (_, status, code, after) in FAULTS.items()
    ]
    inside: list[tuple[str, ...]] = [
        (f"{name}, after {AFTER} tokens", "in the stream", f"`{code}`", "") for name, (_, code) in IN_STREAM.items()
    ]
    return before + inside
