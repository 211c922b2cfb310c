"""Conversations for tests of the translating dialects: one of everything, and hypothesis strategies for any."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import strategies as st

from app.exchange import JsonObject

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: JsonObject = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather of a city.", "parameters": SCHEMA},
}
TIME: JsonObject = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}},
}


def tool_call(known: str, name: str, **arguments: Any) -> JsonObject:
    """A tool call of an assistant."""
    return {
        "id": known,
        "type": "function",
        "function": {"name": name, "arguments": orjson.dumps(arguments).decode()},
    }


EXCHANGE: list[JsonObject] = [
    {"role": "user", "content": "Weather and time in Paris?"},
    {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [tool_call("call_1", "get_weather", city="Paris"), tool_call("call_2", "get_time")],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "18 °C"},
    {"role": "tool", "tool_call_id": "call_2", "content": "noon"},
]
EVERYTHING: list[JsonObject] = [
    {"role": "system", "content": "Be brief."},
    *EXCHANGE,
    {"role": "assistant", "content": "18 °C at noon."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "And this?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        ],
    },
]

WORDS = st.text(min_size=1, max_size=12)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
_TEXT_PART = st.builds(lambda text: {"type": "text", "text": text}, WORDS)
_IMAGE_PART = st.builds(
    lambda kind: {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{PNG}"}},
    st.sampled_from(["png", "jpeg", "gif", "webp"]),
)
_NAMES = st.sampled_from(["get_weather", "get_time"])
_SEVERAL = st.lists(_TEXT_PART | _IMAGE_PART, min_size=2, max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> list[JsonObject]:
    """System, then turns of user and assistant in their order, tools called and answered in parallel; the user last."""
    found: list[JsonObject] = [{"role": "system", "content": draw(WORDS)}] if draw(st.booleans()) else []
    for turn in range(draw(st.integers(0, 2))):
        found.append({"role": "user", "content": draw(WORDS | _SEVERAL)})
        calls = [
            {
                "id": f"call_{turn}_{number}",
                "type": "function",
                "function": {"name": name, "arguments": orjson.dumps(arguments).decode()},
            }
            for number, (name, arguments) in enumerate(
                draw(
                    st.lists(
                        st.tuples(
                            st.sampled_from(["get_weather", "get_time"]), st.dictionaries(WORDS, _VALUES, max_size=2)
                        ),
                        max_size=2,
                    )
                )
            )
        ]
        text = draw(WORDS) if not calls else draw(st.none() | WORDS)
        found.append({"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {}))
        found += [{"role": "tool", "tool_call_id": call["id"], "content": draw(WORDS)} for call in calls]
        if calls:
            found.append({"role": "assistant", "content": draw(WORDS)})
    return [*found, {"role": "user", "content": draw(WORDS | _SEVERAL)}]


PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "max_completion_tokens": st.integers(1, 4096),
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0.125, 1),
        "stop": st.lists(WORDS, min_size=1, max_size=3),
        "user": WORDS,
        "reasoning_effort": st.sampled_from(["low", "medium", "high"]),
        "response_format": st.just(
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
        ),
        "tool_choice": st.sampled_from(
            ["auto", "none", "required", {"type": "function", "function": {"name": "get_time"}}]
        ),
    },
)
