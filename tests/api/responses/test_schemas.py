"""What the page says about `/v1/responses`: what it rejects, the gateway rejects."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.api.responses.request import understand
from app.api.responses.schemas import ResponsesRequest
from app.errors import GatewayError
from app.exchange import Operation

JUNK = st.sampled_from([None, True, 0, 1, -1, 1.5, "", "x", [], [1], {}, {"a": 1}])
ITEM = st.just({"role": "user", "content": "x"})
BODY = st.fixed_dictionaries(
    {"model": st.just("m") | JUNK, "input": st.text(max_size=3) | st.lists(ITEM, max_size=2) | JUNK},
    optional={"max_output_tokens": st.integers(0, 3) | JUNK, "stream": st.booleans() | JUNK, "store": st.booleans()},
)


@settings(max_examples=200)
@given(BODY)
def test_the_page_and_the_surface_agree(body: dict[str, Any]) -> None:
    """On what is checked: model, input, cap, stream and storage."""
    try:
        understand(Operation.CHAT, orjson.dumps(body))
        taken = True
    except GatewayError:
        taken = False
    try:
        ResponsesRequest.model_validate(body)
        documented = True
    except ValidationError:
        documented = False
    assert taken is documented, body
