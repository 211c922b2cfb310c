"""Where a client's file talks to: the fake upstream, whose models' names say what they do, or a real vLLM.

With `GATEWAY_REAL` there are two models, `chat` and `embed`: small ones; the first says what it likes, and calls a tool
only when it must. What is checked then is the shape of an answer, not its words.
"""

from __future__ import annotations

import os

URL, KEY = os.environ["GATEWAY_URL"], os.environ["GATEWAY_KEY"]
REAL = "GATEWAY_REAL" in os.environ
PROVIDERS = ("vllm",) if REAL else ("vllm", "anthropic", "gemini")
CALLS = 1 if REAL else 2
"""How many tools are called at a time."""
MOST = 150 if REAL else 60
"""Tokens of an answer: a small model may need many for the arguments of a call."""


def model(provider: str, behaviour: str = "echo") -> str:
    """The name of a model that behaves so, behind this provider."""
    return "chat" if REAL else f"{provider}-{behaviour}"


def embedder(provider: str) -> str:
    """The name of an embedding model."""
    return "embed" if REAL else f"{provider}-echo"


def check(text: str, wanted: str) -> None:
    """The fake says what it is told to say; a real model says something."""
    assert text.strip() if REAL else text == wanted, text
