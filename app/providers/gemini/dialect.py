"""Gemini's dialect: chat completions, embeddings and the counting of a prompt's tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from app.errors import CONTEXT_LENGTH_EXCEEDED, GatewayError, Outcome
from app.exchange import Call, JsonObject, Operation, Outbound
from app.pipeline.call import Decoder
from app.providers.counts import CountDecoder
from app.providers.gemini import embeddings
from app.providers.gemini.request import encode, encode_count
from app.providers.gemini.stream import GeminiDecoder
from app.providers.refusals import refusal
from app.providers.unable import unable, written
from app.table import Deployment

_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")
_TOO_LONG = re.compile(r"input token count .*exceeds")


class Gemini:
    """Encodes calls for, and decodes answers of, Google's API.

    `base_url` ends in `/v1beta`, or for Vertex in `/publishers/google`.
    """

    def encode(self, call: Call, deployment: Deployment, request_id: str) -> Outbound:
        """The call in Gemini's words."""
        if call.operation is Operation.CHAT:
            method = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
            body = encode(call, deployment)
        elif call.operation is Operation.EMBEDDINGS:
            method, body = "batchEmbedContents", embeddings.encode(call, deployment)
        elif call.operation is Operation.TOKENIZE:
            method, body = "countTokens", encode_count(call, deployment)
        else:
            raise unable(call, deployment)
        model = quote(deployment.model.removeprefix("models/"), safe="")
        headers = self.headers(deployment, request_id)
        return Outbound("POST", f"/models/{model}:{method}", headers, written(body), call.stream)

    def headers(self, deployment: Deployment, request_id: str) -> tuple[tuple[str, str], ...]:
        """The key, our id, and the deployment's own (Vertex wants `authorization`)."""
        fixed = (("content-type", "application/json"), ("x-request-id", request_id), *deployment.headers)
        if deployment.api_key is None:
            return fixed
        return (("x-goog-api-key", deployment.api_key.reveal()), *fixed)

    def decoder(self, call: Call) -> Decoder:
        """A decoder for this call."""
        if call.operation is Operation.TOKENIZE:
            return CountDecoder("totalTokens")
        return embeddings.EmbeddingsDecoder(call) if call.operation is Operation.EMBEDDINGS else GeminiDecoder(call)

    def error(self, status: int, headers: Mapping[str, str], body: bytes, deployment: Deployment) -> GatewayError:
        """The refusal in the contract's codes. A delay stands in the body, and a wrong key is a 400 here."""
        error = _error(body)
        after = _retry_delay(error)
        if after is not None and "retry-after" not in headers:
            headers = {**headers, "retry-after": after}
        if status == 400 and _reason(error) == "API_KEY_INVALID":
            status = 401
        said = {"message": error.get("message"), "type": error.get("status")}
        found = refusal(status, headers, orjson.dumps({"error": said}) if error else body, deployment)
        if status == 400 and _TOO_LONG.search(found.message):
            return GatewayError(
                CONTEXT_LENGTH_EXCEEDED, found.message, param="messages", outcome=Outcome.UPSTREAM_REJECTED
            )
        return found


def _error(body: bytes) -> JsonObject:
    """Google's error object; empty where there is none. Some streams wrap it in an array."""
    try:
        doc: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if type(doc) is list and doc:
        doc = doc[0]
    error = doc.get("error") if type(doc) is dict else None
    return error if type(error) is dict else {}


def _details(error: JsonObject, kind: str) -> JsonObject:
    for detail in error.get("details") or ():
        if type(detail) is dict and str(detail.get("@type", "")).endswith(kind):
            return detail
    return {}


def _retry_delay(error: JsonObject) -> str | None:
    match = _DELAY.fullmatch(str(_details(error, "RetryInfo").get("retryDelay", "")))
    return match[1] if match else None


def _reason(error: JsonObject) -> Any:
    return _details(error, "ErrorInfo").get("reason")
