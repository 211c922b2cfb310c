"""Which messages go first: never a system prompt, never half a tool exchange, never the question."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exchange import JsonObject
from app.pipeline.turns import droppable, prefixed, reshaped, tell, without
from tests.pipeline.parts import call

SYSTEM = {"role": "system", "content": "be brief"}


def said(role: str, text: str = "x", **fields: Any) -> JsonObject:
    """A message."""
    return {"role": role, "content": text, **fields}


def called(*names: str) -> JsonObject:
    """An assistant's message that calls tools."""
    calls = [{"id": name, "type": "function", "function": {"name": "f", "arguments": "{}"}} for name in names]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(name: str) -> JsonObject:
    """What a tool answered."""
    return {"role": "tool", "tool_call_id": name, "content": "42"}


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([said("user")], []),
        ([SYSTEM, said("user")], []),
        ([SYSTEM, said("user"), said("assistant"), said("user")], [[1, 2]]),
        ([said("user"), SYSTEM, said("assistant"), said("user"), said("assistant"), said("user")], [[0, 2], [3, 4]]),
        ([said("assistant", "welcome"), said("user"), said("assistant"), said("user")], [[0], [1, 2]]),
        ([said("user"), said("developer"), said("user")], [[0]]),
        ([said("user"), called("a"), result("a"), said("assistant"), said("user")], [[0, 1, 2, 3]]),
        ([said("user"), called("a"), result("a"), called("b", "c"), result("b"), result("c")], [[1, 2]]),
        ([said("user"), called("a"), result("a"), said("assistant"), called("b"), result("b")], [[1, 2], [3]]),
        ([said("user"), called("a", "b"), said("user"), result("a"), result("b")], [[0, 1, 3, 4]]),
        ([said("user"), result("lost"), said("user")], [[0, 1]]),
        ([said("tool"), said("user")], [[0]]),
        ([said("assistant"), said("assistant")], [[0]]),
        ([SYSTEM], []),
    ],
)
def test_what_goes_and_when(messages: list[JsonObject], expected: list[list[int]]) -> None:
    """Turns, oldest first; then exchanges inside the last turn, but for the last of them."""
    assert droppable(messages) == expected


NAMES = st.sampled_from(["a", "b", "c", "d"])
ANY = st.one_of(
    st.sampled_from([SYSTEM, said("developer"), said("user"), said("assistant"), said("function", name="f")]),
    st.lists(NAMES, min_size=1, max_size=3, unique=True).map(lambda names: called(*names)),
    NAMES.map(result),
    st.just({"role": "assistant", "content": None, "tool_calls": None}),
    st.just({"role": "assistant", "content": None, "tool_calls": ["odd", {"id": 5}, {}]}),
    st.just({"role": "tool", "tool_call_id": [], "content": "odd"}),
)


@given(st.lists(ANY, min_size=1, max_size=14))
def test_no_tool_exchange_is_ever_halved(messages: list[JsonObject]) -> None:
    """After every step: a result that is left has its call, a call that is left has all of its results."""
    owners: dict[int, int] = {}
    latest: dict[str, int] = {}
    for place, message in enumerate(messages):
        if message["role"] == "tool" and isinstance(message["tool_call_id"], str) and message["tool_call_id"] in latest:
            owners[place] = latest[message["tool_call_id"]]
        for one in message.get("tool_calls") or ():
            if isinstance(one, dict) and isinstance(one.get("id"), str):
                latest[one["id"]] = place
    gone: set[int] = set()
    for group in droppable(messages):
        assert not gone & set(group), "nothing goes twice"
        gone |= set(group)
        assert all((place in gone) == (owner in gone) for place, owner in owners.items())


@given(st.lists(ANY, min_size=1, max_size=14))
def test_what_never_goes(messages: list[JsonObject]) -> None:
    """System prompts, the last question, and always something."""
    gone = {place for group in droppable(messages) for place in group}
    asked = [place for place, message in enumerate(messages) if message["role"] == "user"]
    assert not asked or asked[-1] not in gone
    assert not any(messages[place]["role"] in ("system", "developer") for place in gone)
    assert len(gone) < len(messages)


@given(st.lists(ANY, min_size=1, max_size=14))
def test_the_oldest_goes_first(messages: list[JsonObject]) -> None:
    """Groups are in the order of what they begin with."""
    starts = [group[0] for group in droppable(messages)]
    assert starts == sorted(starts)


def test_a_call_without_messages_is_known_anew() -> None:
    """Size, images, and whether it is plain; everything else is the caller's."""
    image = {"type": "image_url", "image_url": {"url": "https://example.com/ü.png"}}
    asked = call(messages=[said("user"), {"role": "user", "content": [image]}, said("user")], temperature=1)
    assert (asked.images, asked.plain) == (1, False)
    short = without(asked, {0, 1})
    assert short.body == {**asked.body, "messages": [said("user")]}
    assert (short.images, short.plain, short.size) == (0, True, len(orjson.dumps(short.body)))
    assert len(asked.body["messages"]) == 3


def test_what_is_told_stands_before_what_the_user_says() -> None:
    """Not in a system prompt, not as a second message of the user's in a row; in a message of its own if need be."""
    assert tell([SYSTEM, said("user", "go on")], "so far") == [SYSTEM, said("user", "so far\n\ngo on")]
    assert tell([SYSTEM, said("assistant")], "so far") == [SYSTEM, said("user", "so far"), said("assistant")]
    assert tell([SYSTEM], "so far") == [SYSTEM, said("user", "so far")]


def test_a_text_before_any_kind_of_content() -> None:
    """Text, parts, nothing."""
    part = {"type": "text", "text": "x"}
    assert prefixed("a", "b") == "a\n\nb"
    assert prefixed("a", [part]) == [{"type": "text", "text": "a"}, part]
    assert prefixed("a", None) == prefixed("a", "") == "a"


def test_a_body_is_measured_as_it_is_sent() -> None:
    """Not as the caller wrote it."""
    asked = call()
    assert reshaped(asked, {**asked.body, "x": "ü"}).plain is False
