"""Sluicegate: an OpenAI-compatible gateway in front of language models."""
