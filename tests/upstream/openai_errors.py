"""Error bodies, as vLLM 0.32 and as OpenAI's API write them."""

from __future__ import annotations

import orjson

from tests.upstream.dialect import Refused
from tests.upstream.wire import REASONS

BUSY = "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance."
DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
RATE = "Rate limit reached for requests. Please try again later."

_VLLM_TYPES = {
    400: "BadRequestError",
    404: "NotFoundError",
    500: "InternalServerError",
    501: "NotImplementedError",
    503: "Service Unavailable",
}
_OPENAI = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}
_DEFAULT = {401: "Unauthorized", 429: RATE, 500: DEAD, 503: BUSY}


def _reason(status: int) -> str:
    return REASONS.get(status, b"Unknown").decode()


def default_message(status: int) -> str:
    """What an upstream says to a status when nothing more is known."""
    return _DEFAULT.get(status) or _reason(status)


def vllm(status: int, message: str, param: str | None = None, kind: str | None = None) -> bytes:
    """VLLM's body: `code` is the status, 401 a bare string, 413 comes from what stands in front."""
    if status == 401:
        return b'{"error":"Unauthorized"}'
    if status in {405, 413}:
        return orjson.dumps({"detail": _reason(status)})
    kind = kind or _VLLM_TYPES.get(status) or _reason(status)
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": status}})


def openai(status: int, message: str, param: str | None = None) -> bytes:
    """OpenAI's body: `code` is a word or null."""
    kind, code = _OPENAI.get(status, ("server_error", None))
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def body(status: int, refused: Refused, *, as_openai: bool) -> bytes:
    """The body of a refusal."""
    if as_openai:
        return openai(status, refused.message, refused.param)
    return vllm(status, refused.message, refused.param, refused.kind)


def event(status: int, message: str, *, as_openai: bool) -> bytes:
    """The error as an event's data. vLLM writes this one with Python's json, so with spaces."""
    if as_openai:
        return openai(status, message)
    kind = _VLLM_TYPES.get(status) or _reason(status)
    return b'{"error": {"message": %b, "type": %b, "param": null, "code": %d}}' % (
        orjson.dumps(message),
        orjson.dumps(kind),
        status,
    )
