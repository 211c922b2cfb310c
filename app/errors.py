"""Every way a request can fail, declared once: the stable codes, their HTTP status, their outcome.

Two exception classes cross stage borders. `GatewayError` is a final answer to the caller. `UpstreamFailure`
is what the transport raises; only `pipeline.call` sees it, and turns it into a retry, a fallback or a `GatewayError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a request ended; exactly one per request, and the sum over outcomes is the number of requests."""

    OK = "ok"
    CLIENT_CLOSED = "client_closed"
    REFUSED_AUTH = "refused_auth"
    REFUSED_INVALID = "refused_invalid"
    REFUSED_LIMIT = "refused_limit"
    REFUSED_BUDGET = "refused_budget"
    REFUSED_GUARD = "refused_guard"
    CUT_GUARD = "cut_guard"
    UPSTREAM_REJECTED = "upstream_rejected"
    UPSTREAM_ERROR = "upstream_error"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    OVERLOADED = "overloaded"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class Code:
    """A stable error code: its HTTP status, OpenAI's `type` for it, and the outcome that it is counted as."""

    name: str
    status: int
    type: str
    outcome: Outcome
    meaning: str


INVALID_API_KEY = Code(
    "invalid_api_key",
    401,
    "authentication_error",
    Outcome.REFUSED_AUTH,
    "No credential, or one that is not known, was revoked, or contradicts another one in the same request.",
)
MODEL_NOT_ALLOWED = Code(
    "model_not_allowed",
    403,
    "permission_error",
    Outcome.REFUSED_AUTH,
    "The key may not use this model.",
)
PERMISSION_DENIED = Code(
    "permission_denied",
    403,
    "permission_error",
    Outcome.REFUSED_AUTH,
    "The admin key may look, not change; or the caller's key may not pin a deployment.",
)
MODEL_NOT_FOUND = Code(
    "model_not_found", 404, "invalid_request_error", Outcome.REFUSED_INVALID, "No model of this name is configured."
)
NOT_FOUND = Code("not_found", 404, "invalid_request_error", Outcome.REFUSED_INVALID, "There is nothing at this path.")
METHOD_NOT_ALLOWED = Code(
    "method_not_allowed",
    405,
    "invalid_request_error",
    Outcome.REFUSED_INVALID,
    "The path exists, the method does not; `allow` names the right one.",
)
INVALID_REQUEST = Code(
    "invalid_request",
    400,
    "invalid_request_error",
    Outcome.REFUSED_INVALID,
    "The request is malformed; `param` names the field where one is to blame.",
)
REQUEST_TIMEOUT = Code(
    "request_timeout",
    408,
    "invalid_request_error",
    Outcome.REFUSED_INVALID,
    "The request's head or body did not arrive in time.",
)
REQUEST_TOO_LARGE = Code(
    "request_too_large",
    413,
    "invalid_request_error",
    Outcome.REFUSED_INVALID,
    "The body is over `server.max_body_bytes`; or, with status 431, the head is over 64 KiB.",
)
CONTEXT_LENGTH_EXCEEDED = Code(
    "context_length_exceeded",
    400,
    "invalid_request_error",
    Outcome.REFUSED_INVALID,
    "Prompt and answer do not fit the model's context window.",
)
CONTENT_FILTER = Code(
    "content_filter", 400, "invalid_request_error", Outcome.REFUSED_GUARD, "A guard blocked the prompt."
)
RATE_LIMIT_EXCEEDED = Code(
    "rate_limit_exceeded",
    429,
    "rate_limit_error",
    Outcome.REFUSED_LIMIT,
    "A limit on requests, tokens or concurrency is reached, here or upstream; `retry-after` says when to come back.",
)
BUDGET_EXCEEDED = Code(
    "budget_exceeded",
    429,
    "insufficient_quota",
    Outcome.REFUSED_BUDGET,
    "What this request may cost does not fit into a budget.",
)
OVERLOADED = Code(
    "overloaded",
    503,
    "server_error",
    Outcome.OVERLOADED,
    "The gateway sheds load, is shutting down, or the upstream said that it is overloaded; `retry-after` says when to come back.",
)
UPSTREAM_ERROR = Code(
    "upstream_error",
    502,
    "server_error",
    Outcome.UPSTREAM_ERROR,
    "The upstream could not be reached, failed, or answered something that is no answer.",
)
UPSTREAM_TIMEOUT = Code(
    "upstream_timeout",
    504,
    "server_error",
    Outcome.UPSTREAM_TIMEOUT,
    "The upstream did not answer within the deployment's timeouts.",
)
INTERNAL_ERROR = Code(
    "internal_error",
    500,
    "server_error",
    Outcome.INTERNAL_ERROR,
    "A bug in the gateway; quote the request id when you report it.",
)

CODES: dict[str, Code] = {
    code.name: code
    for code in (
        INVALID_API_KEY, MODEL_NOT_ALLOWED, PERMISSION_DENIED, MODEL_NOT_FOUND, NOT_FOUND, METHOD_NOT_ALLOWED,
        INVALID_REQUEST, REQUEST_TIMEOUT, REQUEST_TOO_LARGE, CONTEXT_LENGTH_EXCEEDED, CONTENT_FILTER,
        RATE_LIMIT_EXCEEDED, BUDGET_EXCEEDED, OVERLOADED, UPSTREAM_ERROR, UPSTREAM_TIMEOUT, INTERNAL_ERROR,
    )
}  # fmt: skip


class GatewayError(Exception):
    """A final answer to the caller.

    `status` and `outcome` are the code's own unless given: an upstream's 4xx keeps its status, and a
    rate limit of an upstream counts as `upstream_error`, not as `refused_limit`. `type` and `code_name`
    carry an upstream's own words through. `retry_after` is in seconds. `inner` is told as `innererror`, Azure's place
    for what a content filter has found.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        param: str | None = None,
        status: int | None = None,
        outcome: Outcome | None = None,
        retry_after: float | None = None,
        error_type: str | None = None,
        code_name: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.status = code.status if status is None else status
        self.outcome = code.outcome if outcome is None else outcome
        self.retry_after = retry_after
        self.error_type = code.type if error_type is None else error_type
        self.code_name = code.name if code_name is None else code_name
        self.inner: Mapping[str, object] | None = None

    def document(self) -> dict[str, dict[str, object]]:
        """The error in OpenAI's shape."""
        error: dict[str, object] = {
            "message": self.message, "type": self.error_type, "param": self.param, "code": self.code_name
        }  # fmt: skip
        if self.inner is not None:
            error["innererror"] = dict(self.inner)
        return {"error": error}


def refused(param: str, message: str) -> GatewayError:
    """A 400 that names the field which a request has wrong, or which nobody here or there can serve."""
    return GatewayError(INVALID_REQUEST, message, param=param)


class Failure(StrEnum):
    """Why an attempt at an upstream failed, as the transport saw it. The values are `error.type` in metrics and spans."""

    CONNECT = "connect"  # no connection: refused, unreachable, no such name, TLS handshake failed
    CONNECT_TIMEOUT = "connect_timeout"
    CLOSED = "closed"  # the upstream closed before the first byte of a response
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"
    BETWEEN_BYTES_TIMEOUT = "between_bytes_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    TRUNCATED = "truncated"  # the response began, and ended before its stated length or last chunk
    PROTOCOL = "protocol"  # what came is not HTTP, or breaks a bound (head size, encoding)


TIMEOUTS = frozenset(
    {Failure.CONNECT_TIMEOUT, Failure.FIRST_BYTE_TIMEOUT, Failure.BETWEEN_BYTES_TIMEOUT, Failure.TOTAL_TIMEOUT}
)


class UpstreamFailure(Exception):
    """An attempt that brought no complete response.

    `sent` tells whether any byte of the request may have reached the upstream (so: may have been billed).
    `detail` may name addresses: it goes to logs and spans, never to a caller.
    """

    def __init__(self, failure: Failure, detail: str, *, sent: bool) -> None:
        super().__init__(f"{failure}: {detail}")
        self.failure = failure
        self.detail = detail
        self.sent = sent
