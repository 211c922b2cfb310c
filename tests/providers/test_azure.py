"""Azure's dialect: deployments in the path, versions, its key; annotations and blocks of its content filter."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.errors import GatewayError, Outcome
from app.exchange import Operation
from app.providers.azure import AzureOpenAI
from tests.pipeline.parts import call, deployment
from tests.support.vendor import openai_request

RESOURCE = "https://res.openai.azure.com"


def to(url: str = RESOURCE, **settings: Any) -> Any:
    """A deployment at Azure."""
    return deployment("two", provider="azure_openai", base_url=url, model="my gpt", **settings)


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        (Operation.CHAT, "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21"),
        (Operation.COMPLETION, "/openai/deployments/my%20gpt/completions?api-version=2024-10-21"),
        (Operation.EMBEDDINGS, "/openai/deployments/my%20gpt/embeddings?api-version=2024-10-21"),
    ],
)
def test_paths(operation: Operation, path: str) -> None:
    """The deployment's name and the version; the body is OpenAI's."""
    sent = AzureOpenAI().encode(call(operation, stream_options=None), to(), "req_1")
    assert sent.path == path
    if operation is Operation.CHAT:
        assert openai_request(orjson.loads(sent.body)) == []


def test_versions_and_the_newer_api() -> None:
    """A version of the operator's; none for `/openai/v1` unless one is given."""
    assert AzureOpenAI().path(call(), to(api_version="2025-04-01-preview")).endswith("?api-version=2025-04-01-preview")
    newer = f"{RESOURCE}/openai/v1"
    assert AzureOpenAI().path(call(), to(newer)) == "/chat/completions"
    assert AzureOpenAI().path(call(), to(newer, api_version="preview")) == "/chat/completions?api-version=preview"
    with pytest.raises(GatewayError):
        AzureOpenAI().path(call(Operation.RERANK), to())


def test_headers() -> None:
    """The key in Azure's header; a token of Entra ID comes from the deployment's headers."""
    assert dict(AzureOpenAI().headers(to(), "req_1"))["api-key"] == "sk-openai-0123456789"
    assert "authorization" not in dict(AzureOpenAI().headers(to(), "req_1"))
    bare = to(api_key=None, headers={"authorization": "env:EXTRA_TOKEN"})
    assert "api-key" not in dict(AzureOpenAI().headers(bare, "req_1"))


def test_a_blocked_prompt_names_its_categories() -> None:
    """As `content_filter`; other errors are as OpenAI's."""
    results = {
        "hate": {"filtered": True, "severity": "high"}, "violence": {"filtered": False},
        "jailbreak": {"filtered": True, "detected": True},
    }  # fmt: skip
    error = {"code": "content_filter", "message": "m", "innererror": {"content_filter_result": results}}
    found = AzureOpenAI().error(400, {}, orjson.dumps({"error": error}), to())
    assert (found.code_name, found.status, found.outcome) == ("content_filter", 400, Outcome.UPSTREAM_REJECTED)
    assert found.message.endswith("(hate, jailbreak).")
    bare = AzureOpenAI().error(400, {}, b'{"error": {"code": "content_filter"}}', to())
    assert bare.message.endswith("blocked the prompt.")
    for body in (b"x", b"[]", b'{"error": "x"}', b'{"error": {"code": "other", "message": "m"}}'):
        assert AzureOpenAI().error(400, {}, body, to()).code_name != "content_filter"
    assert AzureOpenAI().error(429, {"retry-after": "7"}, b"{}", to()).retry_after == 7
