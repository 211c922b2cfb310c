"""Bodies: what is a request, what is not and why; whatever comes, the answer is a `Call` or `invalid_request`."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.errors import INVALID_REQUEST, GatewayError, Outcome
from app.exchange import UPSTREAM_OPERATIONS, Call, Operation
from app.pipeline.validate import MAX_CHOICES, check, parse, validate

CHAT, COMPLETION, EMBEDDINGS = Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDINGS
RERANK, SCORE, TOKENIZE = Operation.RERANK, Operation.SCORE, Operation.TOKENIZE
TURN = [{"role": "user", "content": "hi"}]
GOOD: dict[Operation, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": TURN},
    COMPLETION: {"model": "m", "prompt": "hi"},
    EMBEDDINGS: {"model": "m", "input": "hi"},
    RERANK: {"model": "m", "query": "hi", "documents": ["a", "b"]},
    SCORE: {"model": "m", "text_1": "hi", "text_2": ["a", "b"]},
    TOKENIZE: {"model": "m", "prompt": "hi"},
}

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
FIELDS = st.sampled_from(
    (
        *("model", "messages", "prompt", "input", "stream", "stream_options", "n", "best_of", "max_tokens"),
        *(
            "query",
            "documents",
            "text_1",
            "text_2",
            "top_n",
            "max_completion_tokens",
            "role",
            "content",
            "include_usage",
            "continuous_usage_stats",
        ),
    )
)
BODIES = st.dictionaries(FIELDS, JSON | st.dictionaries(FIELDS, JSON, max_size=3), max_size=9)


def options(**fields: Any) -> dict[str, Any]:
    """The fields of a stream with options."""
    return {"stream": True, "stream_options": fields}


def refused(operation: Operation, raw: bytes) -> GatewayError:
    """The refusal of a body."""
    with pytest.raises(GatewayError) as caught:
        validate(operation, raw)
    error = caught.value
    assert (error.code, error.status, error.outcome) == (INVALID_REQUEST, 400, Outcome.REFUSED_INVALID)
    return error


def accepted(operation: Operation, fields: dict[str, Any]) -> Call:
    """The call of a good body with fields changed."""
    return validate(operation, orjson.dumps({**GOOD[operation], **fields}))


NO_OBJECTS = {
    "empty": b"", "space": b" ", "open": b"{", "list open": b"[",
    "comma": b'{"model": "m",}', "quotes": b"{'model': 'm'}",
    "bom": b"\xef\xbb\xbf{}", "utf-16": b"\xff\xfe", "utf-8": b'{"model": "\xff"}', "surrogate": b'{"a": "\\ud800"}',
    "nan": b"NaN", "nan inside": b'{"n": NaN}', "infinity": b'{"n": 1e999}', "text": b'"text"', "number": b"1",
    "null": b"null", "true": b"true", "list": b"[]", "list of objects": b'[{"model": 1}]', "bomb": b"{" * 100_000,
    "list bomb": b"[" * 100_000, "deep": b'{"a":' * 2000 + b"1" + b"}" * 2000,
}  # fmt: skip


@pytest.mark.parametrize("case", NO_OBJECTS)
@pytest.mark.parametrize("operation", UPSTREAM_OPERATIONS)
def test_what_is_no_json_object(operation: Operation, case: str) -> None:
    """Broken, not UTF-8, too deep, another kind of JSON: 400 without a field to blame, and short."""
    error = refused(operation, NO_OBJECTS[case])
    assert error.param is None
    assert len(error.message) < 300


NO_NUMBERS: tuple[Any, ...] = (0, -1, 1.0, True, "1", [])
VALUES: list[tuple[Operation, str, tuple[Any, ...]]] = [
    *((each, "model", (None, "", 1, True, ["m"], {})) for each in UPSTREAM_OPERATIONS),
    *((each, "stream", (0, 1, "true", [], {})) for each in UPSTREAM_OPERATIONS),
    *((each, "n", (*NO_NUMBERS, MAX_CHOICES + 1, 2**64 - 1)) for each in UPSTREAM_OPERATIONS),
    (CHAT, "messages", (None, [], {}, "hi", 1)),
    (CHAT, "max_tokens", NO_NUMBERS),
    (CHAT, "max_completion_tokens", NO_NUMBERS),
    (COMPLETION, "prompt", (None, [], {}, 1, True)),
    (COMPLETION, "max_tokens", (-1, 0.5, "1", False)),
    (EMBEDDINGS, "input", (None, [], {}, 1, True)),
    (RERANK, "query", (None, "", [], 1)),
    (RERANK, "documents", (None, [], {}, "x")),
    (RERANK, "top_n", NO_NUMBERS),
    (SCORE, "text_1", (None, [], {}, 1)),
    (SCORE, "text_2", (None, [], {}, 1)),
    (TOKENIZE, "prompt", ([], 1, {})),
    *((each, "stream_options", (1, True, "x", [], {}, {"include_usage": True})) for each in UPSTREAM_OPERATIONS),
]
TURNS: tuple[Any, ...] = (None, [], "hi", 1, {}, {"role": 1}, {"role": None})
CONTENTS: tuple[Any, ...] = (1, True, {}, 1.5)
OPTIONS: tuple[Any, ...] = (1, True, "x", [])
WRONG: list[tuple[Operation, dict[str, Any], str]] = [
    *((operation, {name: value}, name) for operation, name, values in VALUES for value in values),
    *((CHAT, {"messages": [*TURN, value]}, "messages[1]") for value in TURNS),
    *((CHAT, {"messages": [{"role": "user", "content": value}]}, "messages[0].content") for value in CONTENTS),
    *((CHAT, {"stream": True, "stream_options": value}, "stream_options") for value in OPTIONS),
    *((CHAT, options(include_usage=value), "stream_options.include_usage") for value in OPTIONS[::2]),
    (CHAT, {"stream": False, "stream_options": {}}, "stream_options"),
    (CHAT, {"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
    *((operation, {"stream": True}, "stream") for operation in (EMBEDDINGS, RERANK, SCORE, TOKENIZE)),
    (TOKENIZE, {"prompt": None}, "messages"),
    (TOKENIZE, {"prompt": None, "messages": [{"role": 1}]}, "messages[0]"),
]


@pytest.mark.parametrize(("operation", "fields", "param"), WRONG)
def test_the_field_to_blame(operation: Operation, fields: dict[str, Any], param: str) -> None:
    """Each wrong field is named, and the message says what would be right."""
    error = refused(operation, orjson.dumps({**GOOD[operation], **fields}))
    assert error.param == param
    assert any(said in error.message for said in ("must be", "only allowed", "contradict", "cannot be"))


@pytest.mark.parametrize("operation", UPSTREAM_OPERATIONS)
def test_a_missing_field_is_named(operation: Operation) -> None:
    """An empty object lacks its model first; one with a model lacks its prompt."""
    assert refused(operation, b"{}").param == "model"
    name = {
        CHAT: "messages", COMPLETION: "prompt", EMBEDDINGS: "input", RERANK: "query", SCORE: "text_1",
        TOKENIZE: "messages",
    }[operation]  # fmt: skip
    assert refused(operation, b'{"model": "m"}').param == name


@pytest.mark.parametrize(
    ("operation", "fields", "expected"),
    [
        (CHAT, {}, (False, False, None, 1)),
        (CHAT, {"stream": None, "n": None, "max_tokens": None, "stream_options": None}, (False, False, None, 1)),
        (CHAT, {"stream": True, "n": 128, "max_tokens": 5}, (True, False, 5, 128)),
        (CHAT, {"max_completion_tokens": 7, "max_tokens": 7}, (False, False, 7, 1)),
        (CHAT, {"stream": True, "stream_options": {"include_usage": True}}, (True, True, None, 1)),
        (CHAT, {"stream": True, "stream_options": {"include_usage": None, "x": 1}}, (True, False, None, 1)),
        (CHAT, {"messages": [{"role": "tool", "content": None}]}, (False, False, None, 1)),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text"}]}]}, (False, False, None, 1)),
        (COMPLETION, {"max_tokens": 0, "prompt": ""}, (False, False, 0, 1)),
        (COMPLETION, {"prompt": ["a", "b"], "n": 3}, (False, False, None, 6)),
        (COMPLETION, {"prompt": [[1], [2], [3]]}, (False, False, None, 3)),
        (COMPLETION, {"prompt": [1, 2, 3], "best_of": 2}, (False, False, None, 2)),
        (COMPLETION, {"best_of": 2**63}, (False, False, None, MAX_CHOICES)),
        (COMPLETION, {"best_of": "many", "prompt": [None]}, (False, False, None, 1)),
        (EMBEDDINGS, {"input": ["a", "b"], "prompt": []}, (False, False, 0, 2)),
        (EMBEDDINGS, {"stream": False}, (False, False, 0, 1)),
        (RERANK, {"top_n": 1}, (False, False, 0, 2)),
        (SCORE, {}, (False, False, 0, 2)),
        (TOKENIZE, {"prompt": None, "messages": TURN}, (False, False, 0, 1)),
    ],
)
def test_what_is_read_of_a_good_body(
    operation: Operation, fields: dict[str, Any], expected: tuple[bool, bool, int | None, int]
) -> None:
    """Stream, whether usage was asked for, the cap, and how many answers are made."""
    call = accepted(operation, fields)
    assert (call.stream, call.include_usage, call.max_output_tokens, call.choices) == expected


def test_what_is_read_more_than_once_is_bounded() -> None:
    """The query stands once and is read with each document; counting tokens reads, and bills, nothing."""
    raw = orjson.dumps({**GOOD[RERANK], "query": "q" * 100, "documents": ["a"] * 5})
    assert validate(RERANK, raw).size >= len(raw) + 4 * 100
    raw = orjson.dumps({**GOOD[SCORE], "text_1": ["a"] * 3, "text_2": "t" * 100})
    assert (validate(SCORE, raw).size >= len(raw) + 2 * 100, validate(SCORE, raw).prompts) == (True, 3)
    assert accepted(TOKENIZE, {}).size == 0


def test_a_parsed_body_is_checked_alike() -> None:
    """As a surface makes one: `validate` is `parse` and `check`."""
    raw = orjson.dumps(GOOD[CHAT])
    assert check(CHAT, parse(raw), len(raw), plain=True) == validate(CHAT, raw)
    assert check(CHAT, parse(raw), 7, foreign=True)[5:-1] == (7, None, 1, 1, 0, True, False, 0, True)


def test_everything_else_goes_through() -> None:
    """Unknown fields, deep ones too, are kept as they are."""
    extra = {"x": {"deep": [1, 2.5, None, "ü", {"": []}]}, "temperature": "hot", "tools": 5}
    call = accepted(CHAT, extra)
    assert call.body == {**GOOD[CHAT], **extra}
    assert call.size == len(orjson.dumps(call.body))


def test_of_a_name_that_comes_twice_the_last_counts() -> None:
    """What is checked is what is sent on: the first cannot hide behind it."""
    call = validate(CHAT, b'{"model": "first", "messages": 5, "model": "m", "messages": [{"role": "user"}]}')
    assert (call.model, call.body) == ("m", {"model": "m", "messages": [{"role": "user"}]})
    assert refused(CHAT, b'{"model": "m", "messages": [{"role": "user"}], "messages": 5}').param == "messages"


@pytest.mark.parametrize("digits", ["9" * 30, "9" * 5000, "1" + "0" * 300, "-" + "9" * 30])
def test_numbers_beyond_all_measure(digits: str) -> None:
    """An integer of thousands of digits is no integer here, and nothing breaks."""
    for name in ("n", "max_tokens"):
        raw = b'{"model": "m", "messages": [{"role": "user"}], "%b": %b}' % (name.encode(), digits.encode())
        assert refused(CHAT, raw).param in {name, None}


def judged(operation: Operation, raw: bytes) -> None:
    """Whatever comes is a call that keeps its word, or refused."""
    try:
        call = validate(operation, raw)
    except GatewayError:
        orjson.dumps(refused(operation, raw).document())
        return
    assert call.choices >= 1
    assert call.max_output_tokens is None or call.max_output_tokens >= 0
    assert call.body == orjson.loads(raw)


@given(st.sampled_from(UPSTREAM_OPERATIONS), st.binary(max_size=200))
@example(CHAT, b'{"model": "m", "messages": [{"role": "user"}], "n": 1e400}')
def test_any_bytes(operation: Operation, raw: bytes) -> None:
    """Never anything but a `Call` or a `GatewayError`."""
    judged(operation, raw)


@given(st.sampled_from(UPSTREAM_OPERATIONS), JSON)
def test_any_json(operation: Operation, document: Any) -> None:
    """The same for everything that is JSON."""
    judged(operation, orjson.dumps(document))


@given(st.sampled_from(UPSTREAM_OPERATIONS), BODIES)
@settings(max_examples=60)
def test_any_fields(operation: Operation, fields: dict[str, Any]) -> None:
    """The same for a good body whose fields hold anything."""
    judged(operation, orjson.dumps({**GOOD[operation], **fields}))
