"""Errors in Anthropic's shape. `code` and `param` are ours: the contract's code, and the field to blame."""

from __future__ import annotations

from typing import Final

from app.errors import GatewayError
from app.exchange import JsonObject

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def document(error: GatewayError, request_id: str) -> JsonObject:
    """The error as `{"type": "error", "error": {"type", "message"}, "request_id"}`."""
    usual = "api_error" if error.status >= 500 else "invalid_request_error"
    detail: JsonObject = {"type": _TYPES.get(error.status, usual), "message": error.message, "code": error.code_name}
    if error.param is not None:
        detail["param"] = error.param
    return {"type": "error", "error": detail, "request_id": request_id}
