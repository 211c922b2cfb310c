"""What an upstream's error response means to the caller: the contract's codes, and no word too many.

An upstream's own 4xx keeps its status and message. Not 401, 403 and 407: they speak of the gateway's credentials, and
OpenAI's even quotes a part of the key. A 429 and a 5xx are faults of the arm. What is passed on is scrubbed of the
deployment's addresses and credentials.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import orjson

from app.errors import INVALID_REQUEST, OVERLOADED, RATE_LIMIT_EXCEEDED, UPSTREAM_ERROR, GatewayError, Outcome
from app.table import Deployment

LONGEST_MESSAGE = 4000
LONGEST_WAIT = 7 * 86400.0
"""Seconds. Nobody is told to come back later than that."""
_SECRET_LENGTH = 8
"""Header values shorter than that are no credentials."""
_OURS = frozenset({401, 403, 407})
_OVERLOADED = frozenset({503, 529})


def refusal(status: int, headers: Mapping[str, str], body: bytes, deployment: Deployment) -> GatewayError:
    """The error for an upstream's status that is not 200; `status` below 400 is no answer at all."""
    after = retry_after(headers)
    if status == 429:
        return GatewayError(
            RATE_LIMIT_EXCEEDED,
            _said(body, deployment)[0] or "The upstream's rate limit is reached.",
            outcome=Outcome.UPSTREAM_ERROR,
            retry_after=1.0 if after is None else after,
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
        text, kind, param, code = _said(body, deployment)
        return GatewayError(
            INVALID_REQUEST,
            text or f"The upstream refused the request with status {status}.",
            param=param, status=status, outcome=Outcome.UPSTREAM_REJECTED, retry_after=after,
            error_type=kind, code_name=code,
        )  # fmt: skip
    return GatewayError(UPSTREAM_ERROR, f"The upstream failed with status {status}.", retry_after=after)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the upstream asks to wait: `retry-after-ms`, or `retry-after` (RFC 9110, section 10.2.3).

    None where it asks nothing, or nothing that makes sense; at most `LONGEST_WAIT`.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name)
        seconds = None if text is None else _wait(text)
        if seconds is not None:
            return min(seconds / unit, LONGEST_WAIT)
    return None


def _wait(text: str) -> float | None:
    """A number, or the time until a date."""
    try:
        number = float(text)
        return number if math.isfinite(number) and number >= 0 else None
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(text)
        moment = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
        return max((moment - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None


def scrub(text: str, deployment: Deployment) -> str:
    """The text without the deployment's addresses and credentials, at most `LONGEST_MESSAGE` characters."""
    for secret in _secrets(deployment):
        text = text.replace(secret, "***")
    for name in _addresses(deployment):
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "upstream", text, flags=re.IGNORECASE)
    return text[:LONGEST_MESSAGE]


def _secrets(deployment: Deployment) -> Iterator[str]:
    if deployment.api_key is not None:
        yield deployment.api_key.reveal()
    for _, value in deployment.headers:
        for part in (value, value.rpartition(" ")[2]):  # a credential may follow its scheme
            if len(part) >= _SECRET_LENGTH:
                yield part


def _addresses(deployment: Deployment) -> Iterator[str]:
    for endpoint in deployment.endpoints:
        yield from (endpoint.url, f"{endpoint.host}:{endpoint.port}", endpoint.host)
        if endpoint.proxy is not None:
            proxy = urlsplit(endpoint.proxy)
            yield from (endpoint.proxy, proxy.netloc, proxy.hostname or proxy.netloc)


def _said(body: bytes, deployment: Deployment) -> tuple[str | None, str | None, str | None, str | None]:
    """Message, type, param and code of an error body (OpenAI's shape, FastAPI's `detail`, a bare string), scrubbed."""
    try:
        doc = orjson.loads(body)
    except orjson.JSONDecodeError:
        doc = None
    error = doc.get("error", doc.get("detail", doc)) if type(doc) is dict else None
    if type(error) is str:
        error = {"message": error}
    elif type(error) is not dict:
        error = {}

    def said(name: str) -> str | None:
        value = error.get(name)
        if type(value) is int:
            return str(value)
        return scrub(value, deployment) if type(value) is str else None

    return said("message"), said("type"), said("param"), said("code")
