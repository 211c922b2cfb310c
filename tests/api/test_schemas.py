"""What the page says about requests is what validation does: hypothesis looks for a body on which they differ."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator
from pydantic import BaseModel, ValidationError

from app.api.openapi import SHAPES, describe
from app.api.schemas import (
    ChatResponse,
    CompletionResponse,
    EmbeddingsResponse,
    ErrorResponse,
    Request,
)
from app.errors import CODES, GatewayError
from app.exchange import UPSTREAM_OPERATIONS, Operation
from app.pipeline.validate import MAX_CHOICES, validate
from tests.support.gateway import Gateway

PAGE = describe({"paths": {}})

JUNKS: list[Any] = [
    None, True, False, 0, 1, -1, 2, MAX_CHOICES, MAX_CHOICES + 1, 2**53, 0.5, "", "x", "1",
    [], ["x"], [[1, 2]], [1], {}, {"a": 1}, [{}],
]  # fmt: skip
"""Values on the borders of what is right. Not 1.0: JSON Schema takes it for an integer."""

JUNK = st.sampled_from(JUNKS)


def near(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly right, sometimes not."""
    return st.one_of(right, right, right, JUNK)


OPTIONS = st.fixed_dictionaries({}, optional={"include_usage": near(st.booleans()), "other": JUNK})
SHARED = {
    "stream": near(st.booleans()), "stream_options": near(OPTIONS), "n": near(st.integers(1, MAX_CHOICES)),
    "max_tokens": near(st.integers(0, 3)), "max_completion_tokens": near(st.integers(0, 3)),
    "temperature": JUNK, "tools": JUNK, "query": near(st.text(min_size=1, max_size=3)), "text_1": near(st.just("x")),
    "top_n": near(st.integers(1, 3)),
}  # fmt: skip
MESSAGE = st.fixed_dictionaries(
    {"role": near(st.sampled_from(["user", "tool", ""]))},
    optional={"content": near(st.text(max_size=3)), "name": JUNK, "tool_calls": JUNK},
)
MAIN = {
    Operation.CHAT: ("messages", st.lists(near(MESSAGE), min_size=1, max_size=3)),
    Operation.COMPLETION: ("prompt", st.text(max_size=3) | st.lists(JUNK, max_size=2)),
    Operation.EMBEDDINGS: ("input", st.text(max_size=3) | st.lists(JUNK, max_size=2)),
    Operation.RERANK: ("documents", st.lists(JUNK, max_size=2)),
    Operation.SCORE: ("text_2", st.text(max_size=3) | st.lists(JUNK, max_size=2)),
    Operation.TOKENIZE: ("prompt", st.text(max_size=3)),
}
PATHS = {
    Operation.CHAT: "/v1/chat/completions", Operation.COMPLETION: "/v1/completions",
    Operation.EMBEDDINGS: "/v1/embeddings", Operation.RERANK: "/v1/rerank", Operation.SCORE: "/v1/score",
    Operation.TOKENIZE: "/tokenize",
}  # fmt: skip
"""Where each operation is spoken in OpenAI's shape."""


@st.composite
def bodies(draw: st.DrawFn, operation: Operation) -> Any:
    """A body that is right, or wrong in few places."""
    name, main = MAIN[operation]
    optional = {"model": near(st.sampled_from(["chat", "org/m"])), name: near(main), **SHARED}
    required = {} if draw(st.integers(0, 9)) == 0 else {"model": optional["model"], name: optional[name]}
    rest = {key: value for key, value in optional.items() if key not in required}
    return draw(st.one_of(*[st.fixed_dictionaries(required, optional=rest)] * 9, JUNK))


def accepted(operation: Operation, body: Any) -> bool:
    """Whether the gateway takes it."""
    try:
        validate(operation, orjson.dumps(body))
    except GatewayError:
        return False
    return True


def modelled(operation: Operation, body: Any) -> bool:
    """Whether the documented model takes it."""
    model: type[BaseModel] = SHAPES[PATHS[operation]][1]
    try:
        model.model_validate(body)
    except ValidationError:
        return False
    return True


def documented(operation: Operation, body: Any) -> bool:
    """Whether the JSON Schema on the page takes it. Two numbers that must be equal are beyond JSON Schema."""
    schema = {"$ref": f"#/components/schemas/{SHAPES[PATHS[operation]][1].__name__}", "components": PAGE["components"]}
    if not OAS31Validator(schema).is_valid(body):
        return False
    if operation is not Operation.CHAT:
        return True
    return len({body.get(name) for name in ("max_tokens", "max_completion_tokens")} - {None}) < 2


ALSO: dict[Operation, dict[str, Any]] = {Operation.RERANK: {"query": "x"}, Operation.SCORE: {"text_1": "x"}}
"""What a sound body needs beside its main field."""


def right(operation: Operation) -> dict[str, Any]:
    """A sound body."""
    mains: dict[Operation, Any] = {Operation.CHAT: [{"role": "user", "content": "x"}], Operation.RERANK: ["x"]}
    return {"model": "m", MAIN[operation][0]: mains.get(operation, "x"), **ALSO.get(operation, {})}


def agree(operation: Operation, body: Any) -> bool:
    """The verdict; fails where there is more than one."""
    verdict = accepted(operation, body)
    assert (modelled(operation, body), documented(operation, body)) == (verdict, verdict), body
    return verdict


@pytest.mark.parametrize("operation", UPSTREAM_OPERATIONS)
def test_the_page_and_validation_agree_on_every_border(operation: Operation) -> None:
    """A sound body with one field replaced, or taken out."""
    sound = right(operation)
    assert agree(operation, sound)
    for name in (*sound, *SHARED):
        agree(operation, {key: value for key, value in sound.items() if key != name})
        for value in JUNKS:
            agree(operation, {**sound, name: value})
            agree(operation, {**sound, "stream": True, "stream_options": {"include_usage": value}})
    for value in JUNKS if operation is Operation.CHAT else []:
        for message in (value, {"role": value}, {"content": "x"}, {"role": "user", "content": value}):
            agree(operation, {**sound, "messages": [message]})


@pytest.mark.parametrize("operation", UPSTREAM_OPERATIONS)
def test_the_page_accepts_and_rejects_what_validation_does(operation: Operation) -> None:
    """For any body: the gateway, the documented model and the JSON Schema agree."""
    verdicts = set()

    @settings(max_examples=60)
    @given(bodies(operation))
    @example(right(operation))
    @example({"model": "m", MAIN[operation][0]: ["x"], "stream_options": {}})
    @example({"model": "m", MAIN[operation][0]: [{"role": "user"}], "max_tokens": 1, "max_completion_tokens": 2})
    def any_body(body: Any) -> None:
        verdicts.add(agree(operation, body))

    any_body()
    assert verdicts == {True, False}


@pytest.mark.parametrize("text", [b'{"model": "m", "input": "x", "n": 1.0}', b'{"model": "m", "input": "x", "n": 1e0}'])
def test_a_fraction_of_nought_is_no_integer(text: bytes) -> None:
    """JSON Schema sees no difference between 1 and 1.0; the gateway and its models do."""
    assert not accepted(Operation.EMBEDDINGS, orjson.loads(text))
    assert not modelled(Operation.EMBEDDINGS, orjson.loads(text))


def test_every_checked_field_is_documented() -> None:
    """With a description where the name does not say it all."""
    for _, request, _, _ in [SHAPES[path] for path in PATHS.values()]:
        assert issubclass(request, Request)
        assert {"model", "stream", "stream_options", "n"} < set(request.model_fields)


@pytest.mark.parametrize("stream", [False, True])
def test_answers_have_the_documented_shape(tight: Gateway, *, stream: bool) -> None:
    """Of each operation, whole and as events."""
    response = tight.chat(stream=stream, stream_options={"include_usage": True} if stream else None)
    events = [line[6:] for line in response.text.splitlines() if line.startswith("data: {")]
    for text in events if stream else [response.text]:
        ChatResponse.model_validate_json(text)
    body = orjson.dumps({"model": "echo", "prompt": "a b", "input": "a b", "stream": stream})
    answer = tight.post("/v1/completions", body).text
    for text in [line[6:] for line in answer.splitlines() if line.startswith("data: {")] if stream else [answer]:
        CompletionResponse.model_validate_json(text)
    if not stream:
        EmbeddingsResponse.model_validate_json(tight.post("/v1/embeddings", body).text)


def test_errors_have_the_documented_shape(tight: Gateway) -> None:
    """The data plane's, FastAPI's and the operators'."""
    responses = [
        tight.chat("nobody"), tight.chat(key="wrong"), tight.get("/v1/models/nobody"), tight.get("/nowhere"),
        tight.post("/livez", b""), tight.ops("/admin/v1/config", key=None), tight.chat("fail-500"),
    ]  # fmt: skip
    for response in responses:
        assert ErrorResponse.model_validate_json(response.text).error.code in CODES
        assert response.headers["x-request-id"].startswith("req_")
