"""What the page says about `/v1/messages`: what it rejects, the gateway rejects; answers are as it says."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from app.api.messages.request import understand
from app.api.messages.schemas import CountRequest, MessagesError, MessagesRequest
from app.errors import GatewayError
from app.exchange import Operation
from tests.support.gateway import Gateway

JUNK = st.sampled_from([None, True, 0, 1, -1, 1.5, "", "x", [], [1], {}, {"a": 1}])
TEXT = st.fixed_dictionaries({"type": st.just("text"), "text": st.text(min_size=1, max_size=3)})
CONTENT = st.text(max_size=3) | st.lists(TEXT, max_size=2) | JUNK
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]) | JUNK, "content": CONTENT}
)  # fmt: skip
BODY = st.fixed_dictionaries(
    {"model": st.just("m") | JUNK, "messages": st.lists(TURN, max_size=2) | JUNK},
    optional={"max_tokens": st.integers(0, 3) | JUNK, "stream": st.booleans() | JUNK, "system": st.text(max_size=3)},
)


def taken(operation: Operation, body: Any) -> bool:
    """Whether the gateway takes it."""
    try:
        understand(operation, orjson.dumps(body))
    except GatewayError:
        return False
    return True


def documented(model: type[BaseModel], body: Any) -> bool:
    """Whether the documented model takes it."""
    try:
        model.model_validate(body)
    except ValidationError:
        return False
    return True


@settings(max_examples=200)
@given(BODY)
def test_the_page_and_the_surface_agree(body: Any) -> None:
    """On what is checked: model, cap, stream, roles and contents of messages."""
    assert taken(Operation.CHAT, body) is documented(MessagesRequest, body), body


@pytest.mark.parametrize("body", [{"model": "m", "messages": [{"role": "user", "content": "x"}]}, {"model": "m"}])
def test_counting_needs_no_cap(body: dict[str, Any]) -> None:
    """But the rest."""
    assert taken(Operation.TOKENIZE, body) is documented(CountRequest, body) is ("messages" in body)


def test_errors_have_the_documented_shape(tight: Gateway) -> None:
    """Whatever goes wrong on this path, wherever: no credential, a wrong method, no JSON, no such model."""
    bad = orjson.dumps({"model": "nobody", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]})
    responses = [
        tight.post("/v1/messages", b"{}", key=None), tight.get("/v1/messages"), tight.post("/v1/messages", b"{"),
        tight.post("/v1/messages", bad), tight.post("/v1/messages/count_tokens", b"x" * 70_000),
    ]  # fmt: skip
    assert [response.status_code for response in responses] == [401, 405, 400, 404, 413]
    for response in responses:
        assert MessagesError.model_validate_json(response.text).request_id == response.headers["x-request-id"]
