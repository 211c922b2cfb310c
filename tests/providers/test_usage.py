"""Usage in OpenAI's shape, as its SDK reads it."""

from __future__ import annotations

from openai.types import CompletionUsage

from app.exchange import Usage
from app.providers.openai import read_usage
from app.providers.usage import usage_document


def test_usage_is_counted_once_and_comes_back() -> None:
    """Cached and reasoning tokens are parts, so the whole is what the provider bills; reading it gives the same."""
    usage = Usage(17, 50, 4, 3, 20)
    document = CompletionUsage.model_validate(usage_document(usage))
    assert (document.prompt_tokens, document.completion_tokens, document.total_tokens) == (17, 50, 67)
    assert read_usage(usage_document(usage)) == usage
