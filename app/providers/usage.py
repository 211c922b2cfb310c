"""Usage in OpenAI's shape, for providers that report it otherwise."""

from __future__ import annotations

from app.exchange import JsonObject, Usage


def usage_document(usage: Usage) -> JsonObject:
    """Usage in OpenAI's shape: cached and reasoning tokens are parts, not additions."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
