"""Anthropic's dialect: chat completions and the counting of a prompt's tokens."""

from __future__ import annotations

from collections.abc import Mapping

from app.errors import CONTEXT_LENGTH_EXCEEDED, GatewayError, Outcome
from app.exchange import Call, Operation, Outbound
from app.providers.anthropic.request import encode, encode_count
from app.providers.anthropic.stream import AnthropicDecoder
from app.providers.counts import CountDecoder
from app.providers.refusals import refusal
from app.providers.unable import unable, written
from app.table import Deployment

VERSION = "2023-06-01"
_TOO_LONG = ("prompt is too long", "input length and `max_tokens` exceed")


class Anthropic:
    """Encodes calls for, and decodes answers of, Anthropic's API; `base_url` ends in `/v1`."""

    def encode(self, call: Call, deployment: Deployment, request_id: str) -> Outbound:
        """The call in Anthropic's words."""
        if call.operation is Operation.CHAT:
            path, body = "/messages", encode(call, deployment)
        elif call.operation is Operation.TOKENIZE:
            path, body = "/messages/count_tokens", encode_count(call, deployment)
        else:
            raise unable(call, deployment)
        return Outbound("POST", path, self.headers(deployment, request_id), written(body), call.stream)

    def headers(self, deployment: Deployment, request_id: str) -> tuple[tuple[str, str], ...]:
        """The version, the key, our id; the deployment's own headers may name another version, or betas."""
        named = {name for name, _ in deployment.headers}
        fixed = [("content-type", "application/json"), ("x-request-id", request_id)]
        if "anthropic-version" not in named:
            fixed.append(("anthropic-version", VERSION))
        if deployment.api_key is not None:
            fixed.append(("x-api-key", deployment.api_key.reveal()))
        return (*fixed, *deployment.headers)

    def decoder(self, call: Call) -> AnthropicDecoder | CountDecoder:
        """A decoder for this call."""
        return CountDecoder("input_tokens") if call.operation is Operation.TOKENIZE else AnthropicDecoder(call)

    def error(self, status: int, headers: Mapping[str, str], body: bytes, deployment: Deployment) -> GatewayError:
        """The refusal in the contract's codes; a prompt that is too long has one of its own."""
        found = refusal(status, headers, body, deployment)
        if status == 400 and found.message.startswith(_TOO_LONG):
            return GatewayError(
                CONTEXT_LENGTH_EXCEEDED, found.message, param="messages", outcome=Outcome.UPSTREAM_REJECTED
            )
        return found
