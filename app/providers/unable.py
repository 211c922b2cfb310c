"""What every translating dialect says to an operation that its provider does not have, and how it writes a body."""

from __future__ import annotations

import orjson

from app.errors import INVALID_REQUEST, GatewayError
from app.exchange import Call, JsonObject, Operation
from app.table import Deployment

_NAMES = {
    Operation.CHAT: "chat completions",
    Operation.COMPLETION: "text completions",
    Operation.EMBEDDINGS: "embeddings",
    Operation.RERANK: "reranking",
    Operation.SCORE: "scoring",
    Operation.TOKENIZE: "tokenizing",
}


def unable(call: Call, deployment: Deployment) -> GatewayError:
    """The refusal of an operation: the model is to blame, so `param` names it."""
    return GatewayError(
        INVALID_REQUEST,
        f"The model `{call.model}` is served by provider `{deployment.provider}`, which has no "
        f"{_NAMES[call.operation]}.",
        param="model",
    )


def written(body: JsonObject) -> bytes:
    """The body as JSON."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:  # orjson reads 1024 levels and writes 254
        raise GatewayError(INVALID_REQUEST, "The body is nested too deeply.") from None
