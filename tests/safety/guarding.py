"""Guards for the tests of the safety room."""

from __future__ import annotations

from typing import Any

from app.exchange import Batch, Event, JsonObject, Operation
from app.pipeline.report import Report
from app.safety.answers import Answers
from app.safety.guards import Guards
from app.safety.policy import CheckedPrompt, GuardPolicy
from tests.pipeline.parts import call
from tests.support.configs import loaded

BOTH: JsonObject = {"detectors": ["rules", "pii"], "actions": {"pii": "redact"}}


def policy(tenant: str = "team", **guard: Any) -> GuardPolicy:
    """A guard with one term; it blocks terms and redacts personal data at both stages unless told otherwise."""
    settings = {"name": "default", "blocklist": ["internal codename"], "prompt": BOTH, "completion": BOTH, **guard}
    config = loaded({"guards": [settings]})
    return Guards(config.guards).of(config.guards[0], tenant)


class Stream:
    """One guarded answer."""

    def __init__(self, guard: GuardPolicy, given: CheckedPrompt | None = None, **fields: Any) -> None:
        operation = Operation.COMPLETION if "prompt" in fields else Operation.CHAT
        self.report = Report("default")
        checked = given or CheckedPrompt(call(operation, **{"stream": True, **fields}))
        watch = guard.watch(checked, self.report)
        assert isinstance(watch, Answers)
        self.watch = watch
        self.now = 1.0

    async def docs(self, *docs: JsonObject, ends: bool = False) -> list[JsonObject]:
        """What leaves of these events, and of the end."""
        batch: Batch = [Event(b"{}", doc) for doc in docs]
        out = self.watch.feed(batch, self.now) if docs else []
        if ends and not self.watch.cut:
            out += self.watch.feed(None, self.now)
        return [event.doc for event in out]


def chunk(*deltas: Any, finish: str | None = None, index: int = 0, **fields: Any) -> JsonObject:
    """A chunk with a choice for each delta (text: content), from `index` on."""
    choices = [
        {
            "index": index + place,
            "delta": {"content": delta} if isinstance(delta, str) else delta,
            "finish_reason": finish,
        }
        for place, delta in enumerate(deltas)
    ]
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **fields}


def said(docs: list[JsonObject], index: int = 0, name: str = "content") -> str:
    """The text of one choice."""
    return "".join(
        choice["delta"].get(name) or "" for doc in docs for choice in doc["choices"] if choice["index"] == index
    )


def ends(docs: list[JsonObject]) -> dict[int, str]:
    """Why each choice ended."""
    return {
        choice["index"]: choice["finish_reason"]
        for doc in docs
        for choice in doc["choices"]
        if choice.get("finish_reason")
    }
