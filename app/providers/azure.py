"""Azure OpenAI: OpenAI's dialect behind deployments in the path, an `api-version`, an `api-key`, and content filters.

`base_url` is the resource (`https://NAME.openai.azure.com`), or ends in `/openai/v1`: that API takes the deployment's
name as `model`, as OpenAI does. Annotations of the content filter (`prompt_filter_results`, `content_filter_results`)
go through as they come. Source: learn.microsoft.com/azure/ai-services/openai/reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from app.errors import CONTENT_FILTER, GatewayError, Outcome
from app.exchange import Call
from app.providers.openai import OpenAI
from app.table import Deployment

API_VERSION = "2024-10-21"
_NEWER = "/openai/v1"


class AzureOpenAI(OpenAI):
    """Encodes calls for, and decodes answers of, Azure's API."""

    def path(self, call: Call, deployment: Deployment) -> str:
        """Under the deployment's name, with a version; the newer API has neither unless it is asked for."""
        path = super().path(call, deployment)
        version = deployment.api_version
        if deployment.endpoints[0].base_path.endswith(_NEWER):
            return path if version is None else f"{path}?api-version={version}"
        name = quote(deployment.model, safe="")
        return f"/openai/deployments/{name}{path}?api-version={version or API_VERSION}"

    def headers(self, deployment: Deployment, request_id: str) -> tuple[tuple[str, str], ...]:
        """The key as `api-key`; a token of Entra ID goes into the deployment's `headers`."""
        fixed = (("content-type", "application/json"), ("x-request-id", request_id), *deployment.headers)
        if deployment.api_key is None:
            return fixed
        return (("api-key", deployment.api_key.reveal()), *fixed)

    def error(self, status: int, headers: Mapping[str, str], body: bytes, deployment: Deployment) -> GatewayError:
        """The refusal; a blocked prompt is `content_filter` with the categories that were hit."""
        hits = _filtered(body) if status == 400 else None
        if hits is None:
            return super().error(status, headers, body, deployment)
        named = f" ({', '.join(hits)})" if hits else ""
        message = f"The provider's content filter blocked the prompt{named}."
        return GatewayError(CONTENT_FILTER, message, param="messages", outcome=Outcome.UPSTREAM_REJECTED)


def _filtered(body: bytes) -> list[str] | None:
    """The categories that the prompt hit; None where the error is another one."""
    try:
        error: Any = orjson.loads(body)["error"]
        if error["code"] != "content_filter":
            return None
    except (ValueError, KeyError, TypeError):
        return None
    inner = error.get("innererror")
    results = inner.get("content_filter_result") if type(inner) is dict else None
    if type(results) is not dict:
        return []
    return [name for name, one in results.items() if type(one) is dict and (one.get("filtered") or one.get("detected"))]
