"""What an upstream's error response means to the caller: the contract's codes, and no word too many.

An upstream's own 4xx keeps its status and message. Not 401, 403 and 407: they speak of the gateway's credentials, and
OpenAI's even quotes a part of the key. A 429 and a 5xx are faults of the arm. Messages are scrubbed of the
deployment's address and key.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import orjson

from app.errors import INVALID_REQUEST, OVERLOADED, RATE_LIMIT_EXCEEDED, UPSTREAM_ERROR, GatewayError, Outcome
from app.table import Deployment

LONGEST_MESSAGE = 4000
_OURS = frozenset({401, 403, 407})
_OVERLOADED = frozenset({503, 529})


def refusal(status: int, headers: Mapping[str, str], body: bytes, deployment: Deployment) -> GatewayError:
    """The error for an upstream's status that is not 200; `status` below 400 is no answer at all."""
    after = retry_after(headers)
    if status == 429:
        text = scrub(_said(body)[0], deployment) or "The upstream's rate limit is reached."
        return GatewayError(
            RATE_LIMIT_EXCEEDED, text, outcome=Outcome.UPSTREAM_ERROR, retry_after=1.0 if after is None else after
        )
    if status in _OVERLOADED:
        return GatewayError(
            OVERLOADED,
            "The upstream is overloaded.",
            outcome=Outcome.UPSTREAM_ERROR,
            retry_after=1.0 if after is None else after,
        )
    if status in _OURS:
        return GatewayError(
            UPSTREAM_ERROR, "The upstream does not accept the gateway's credentials; the operator must mend that."
        )
    if 400 <= status < 500:
        text, kind, param, code = _said(body)
        return GatewayError(
            INVALID_REQUEST,
            scrub(text, deployment) or f"The upstream refused the request with status {status}.",
            param=param, status=status, outcome=Outcome.UPSTREAM_REJECTED, retry_after=after,
            error_type=kind, code_name=code,
        )  # fmt: skip
    return GatewayError(UPSTREAM_ERROR, f"The upstream failed with status {status}.", retry_after=after)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the upstream asks to wait: `retry-after-ms`, or `retry-after` (RFC 9110, section 10.2.3)."""
    text = headers.get("retry-after-ms")
    try:
        if text is not None:
            return max(float(text) / 1000, 0.0)
        text = headers.get("retry-after")
        if text is None:
            return None
        if text.strip().isdigit():
            return float(text)
        return max((parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def scrub(text: str, deployment: Deployment) -> str:
    """The text without the deployment's addresses and key, at most `LONGEST_MESSAGE` characters."""
    if deployment.api_key is not None:
        text = text.replace(deployment.api_key.reveal(), "***")
    for endpoint in deployment.endpoints:
        for name in (endpoint.url, f"{endpoint.host}:{endpoint.port}", endpoint.host):
            text = text.replace(name, "upstream")
    return text[:LONGEST_MESSAGE]


def _said(body: bytes) -> tuple[str, str | None, str | None, str | None]:
    """Message, type, param and code of an error body: OpenAI's shape, FastAPI's `detail`, or a bare string."""
    try:
        doc = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", None, None, None
    if type(doc) is not dict:
        return "", None, None, None
    error = doc.get("error", doc.get("detail", doc))
    if type(error) is str:
        return error, None, None, None
    if type(error) is not dict:
        return "", None, None, None
    return (
        _text(error.get("message")) or "",
        _text(error.get("type")),
        _text(error.get("param")),
        _text(error.get("code")),
    )


def _text(value: object) -> str | None:
    if type(value) is int:
        return str(value)
    return value if type(value) is str else None
