"""Which messages of a conversation may go when it is too long, and in which order. Pure.

System prompts stay. The oldest turns go first, a turn being a message of the user's and all that followed it; of the
last turn, what the assistant did first goes first. A tool call and its results go together or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import orjson

from app.exchange import Call, JsonObject
from app.pipeline.counting import media

PINNED: Final = frozenset({"system", "developer"})
_RESULTS: Final = frozenset({"tool", "function"})


def droppable(messages: Sequence[JsonObject]) -> list[list[int]]:
    """The places of messages that may go, in the order in which they go; what stands in one list goes together."""
    owners = _owners(messages)
    turns: dict[int, list[int]] = {}
    turn_of: list[int] = []
    turn = 0
    for place, message in enumerate(messages):
        turn += message.get("role") == "user"
        turn_of.append(turn if owners[place] == place else turn_of[owners[place]])
        if messages[owners[place]].get("role") not in PINNED:
            turns.setdefault(turn_of[place], []).append(place)
    if turn == 0:  # nobody has asked anything: there is nothing that the rest is an answer to
        return _exchanges(turns.get(0, []), owners)
    last = turns.pop(turn)
    return [turns[number] for number in sorted(turns)] + _exchanges(last[1:], owners)


def _exchanges(places: Sequence[int], owners: Sequence[int]) -> list[list[int]]:
    """What the assistant said or did, each with the results that came of it, without the last one."""
    found: dict[int, list[int]] = {}
    for place in places:
        found.setdefault(owners[place], []).append(place)
    return list(found.values())[:-1]


def _owners(messages: Sequence[JsonObject]) -> list[int]:
    """For each message the place of the one that it belongs to: of a tool's result the call, else itself."""
    owners: list[int] = []
    calls: dict[str, int] = {}
    for place, message in enumerate(messages):
        owner = place
        if message.get("role") in _RESULTS:
            name = message.get("tool_call_id")
            called = calls.get(name) if type(name) is str else None
            owner = called if called is not None else owners[place - 1] if place else place
        owners.append(owner)
        for name in _calls(message):
            calls[name] = place
    return owners


def _calls(message: Mapping[str, Any]) -> list[str]:
    calls = message.get("tool_calls")
    if type(calls) is not list:
        return []
    return [one["id"] for one in calls if type(one) is dict and type(one.get("id")) is str]


def without(call: Call, gone: Collection[int], *, told: str | None = None) -> Call:
    """The call without the messages at these places. `told` is put before what the user says first thereafter."""
    messages = [message for place, message in enumerate(call.body["messages"]) if place not in gone]
    if told is not None:
        messages = tell(messages, told)
    return reshaped(call, {**call.body, "messages": messages})


def tell(messages: list[JsonObject], text: str) -> list[JsonObject]:
    """The messages with a text before the first one that is the user's; as a message of its own where there is none.

    Not a system prompt, for it is made of what others have said; and not a second message of the user's in a row, which
    some chat templates refuse.
    """
    for place, message in enumerate(messages):
        if message.get("role") == "user":
            changed = {**message, "content": prefixed(text, message.get("content"))}
            return [*messages[:place], changed, *messages[place + 1 :]]
    place = next((at for at, message in enumerate(messages) if message.get("role") not in PINNED), len(messages))
    return [*messages[:place], {"role": "user", "content": text}, *messages[place:]]


def prefixed(text: str, content: Any) -> Any:
    """A message's content with a text before it."""
    if type(content) is list:
        return [{"type": "text", "text": text}, *content]
    return f"{text}\n\n{content}" if content else text


def reshaped(call: Call, body: JsonObject) -> Call:
    """The call with another body: what is known of the old one is worked out anew."""
    data = orjson.dumps(body)
    images, other = media(body["messages"])
    return call._replace(body=body, size=len(data), plain=data.isascii(), images=images, media=other)
