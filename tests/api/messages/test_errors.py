"""Errors in Anthropic's shape, which its SDK knows."""

from __future__ import annotations

import pytest
from anthropic.types.shared import ErrorResponse

from app.api.messages.errors import document
from app.errors import CODES, GatewayError
from tests.support.vendor import adapter


@pytest.mark.parametrize("name", CODES)
def test_every_code_is_an_error_of_the_sdk(name: str) -> None:
    """With our stable code beside Anthropic's type."""
    found = document(GatewayError(CODES[name], "because", param="x"), "req_1")
    if name != "request_too_large":  # documented, and not among the SDK's types
        adapter(ErrorResponse).validate_python(found)
    assert (found["error"]["code"], found["error"]["param"], found["request_id"]) == (name, "x", "req_1")
    assert (found["error"]["type"] == "api_error") is (CODES[name].status in {500, 502})


def test_statuses_that_have_no_type() -> None:
    """An upstream's own 4xx is still the request's fault."""
    unknown = GatewayError(CODES["invalid_request"], "m", status=422)
    assert document(unknown, "r")["error"]["type"] == "invalid_request_error"
