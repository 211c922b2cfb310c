"""Anthropic's messages: what goes up, what comes back. Sources: docs.anthropic.com (messages, streaming, errors)."""
