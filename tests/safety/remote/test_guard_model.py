"""A language model that judges: what it is shown, and what becomes of its answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.config import GuardModel
from app.errors import OVERLOADED, GatewayError
from app.safety.detector import DetectorFailure, Finding, Inspection, Passage
from app.safety.remote.guard_model import MOST_TEXT, Judge, conversations

JUDGE = GuardModel(model="judge", format="llama_guard")


class Account:
    """Calls on a tenant's account: an answer each, or a refusal."""

    def __init__(self, text: str | None, error: GatewayError | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any], str]] = []
        self._text, self._error = text, error

    async def __call__(self, model: str, body: dict[str, Any], purpose: str) -> dict[str, Any]:
        """As scripted."""
        self.asked.append((model, body, purpose))
        if self._error is not None:
            raise self._error
        return {"choices": [{"message": {"role": "assistant", "content": self._text}}]}


def prompt(account: Account | None, *texts: tuple[str, str]) -> Inspection:
    """A prompt of role and text."""
    return Inspection("prompt", tuple(Passage(text, role) for role, text in texts), ask=account)


async def test_a_prompt_is_one_conversation() -> None:
    """Turns alternate as templates want it; the operator's words and empty ones are left out."""
    account = Account("unsafe\nS10")
    seen = prompt(
        account, ("system", "rules"), ("assistant", "hi"), ("user", "a"), ("tool", "b"), ("user", " "),
        ("assistant", "c"), ("user", "d"),
    )  # fmt: skip
    assert await Judge(JUDGE).check(seen) == [Finding("hate", 6, None, None)]
    ((model, body, purpose),) = account.asked
    assert (model, purpose, body["temperature"], body["stream"]) == ("judge", "guard", 0, False)
    turns = [(turn["role"], turn["content"]) for turn in body["messages"]]
    assert turns == [("user", "-"), ("assistant", "hi"), ("user", "a\n\nb"), ("assistant", "c"), ("user", "d")]


async def test_each_text_of_an_answer_is_asked_about() -> None:
    """With what stands before it, behind what the user said last."""
    account = Account("unsafe\nS1")
    passages = (Passage("one", "assistant"), Passage("", "assistant"), Passage("two", "assistant"))
    seen = Inspection("completion", passages, "before ", (), "Why?", ask=account)
    assert [one.passage for one in await Judge(JUDGE).check(seen)] == [0, 2]
    assert account.asked[0][1]["messages"] == [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "before one"},
    ]


async def test_long_conversations_lose_their_beginning() -> None:
    """What is left is bounded, and ends as it did."""
    turns = [("user" if place % 2 == 0 else "assistant", f"{place} " + "x" * 5000) for place in range(21)]
    (asked,) = conversations(prompt(None, *turns))
    assert sum(len(turn["content"]) for turn in asked.messages) <= MOST_TEXT
    assert asked.messages[0]["role"] == "user"
    assert asked.messages[-1]["content"].startswith("20 ")
    (asked,) = conversations(prompt(None, ("user", "y" * 1_000_000 + "end")))
    assert len(asked.messages[0]["content"]) == MOST_TEXT
    assert asked.messages[0]["content"].endswith("end")


async def test_what_is_no_verdict_is_a_failure() -> None:
    """A refusal by the gateway, another shape, nobody to pay."""
    for account in (Account(None), Account("hello"), Account("", GatewayError(OVERLOADED, "full"))):
        with pytest.raises(DetectorFailure):
            await Judge(JUDGE).check(prompt(account, ("user", "a")))
    with pytest.raises(DetectorFailure):
        await Judge(JUDGE).check(prompt(None, ("user", "a")))
    assert await Judge(JUDGE).check(prompt(Account("unsafe\nS1"), ("system", "rules"))) == []


async def test_a_failure_ends_the_other_questions() -> None:
    """Nobody would read their answers, and each is paid for."""
    under_way = set[str]()

    class Slow(Account):
        async def __call__(self, model: str, body: dict[str, Any], purpose: str) -> dict[str, Any]:
            text = body["messages"][-1]["content"]
            if text == "fails":
                await asyncio.sleep(0.01)
                raise GatewayError(OVERLOADED, "full")
            under_way.add(text)
            try:
                await asyncio.sleep(20)
            finally:
                under_way.discard(text)
            return {}

    passages = tuple(Passage(text, "assistant") for text in ("one", "fails", "two"))
    with pytest.raises(DetectorFailure):
        await Judge(JUDGE).check(Inspection("completion", passages, ask=Slow(None)))
    assert not under_way
