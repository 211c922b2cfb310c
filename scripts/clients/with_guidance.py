"""guidance through the gateway: roles, capture, a JSON schema; run by `__main__`."""

from __future__ import annotations

import os

from guidance import assistant, gen, models, system, user  # type: ignore[import-not-found]  # in an environment of its own

URL, KEY = os.environ["GATEWAY_URL"], os.environ["GATEWAY_KEY"]


def talk(provider: str) -> None:
    """A conversation whose answer is captured."""
    model = models.OpenAI(f"{provider}-echo", api_key=KEY, base_url=f"{URL}/v1", echo=False)
    with system():
        model += "Be brief."
    with user():
        model += "one two three"
    with assistant():
        model += gen("answer", max_tokens=20)
    assert model["answer"] == "one two three", model["answer"]


for one in ("vllm", "openai"):
    talk(one)
print("models.OpenAI over vllm and openai: roles, streamed answers captured by gen()")
