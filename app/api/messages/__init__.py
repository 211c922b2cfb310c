"""`/v1/messages`: Anthropic's shape in and out. Source: docs.anthropic.com (messages, streaming, errors)."""
