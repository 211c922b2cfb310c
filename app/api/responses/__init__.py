"""`/v1/responses`: OpenAI's newer shape, without its storage. Source: platform.openai.com (responses)."""
