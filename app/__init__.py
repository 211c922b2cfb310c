"""Sluicegate: an OpenAI-compatible gateway in front of language models."""

from app.compiled import install

install()
