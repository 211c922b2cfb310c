"""guidance through the gateway: roles, capture, a JSON schema; run by `__main__`."""

from __future__ import annotations

from guidance import assistant, gen, models, system, user  # type: ignore[import-not-found]  # in an environment of its own

from scripts.clients.setting import KEY, PROVIDERS, REAL, URL, check, model


def talk(provider: str) -> None:
    """A conversation whose answer is captured."""
    said = models.OpenAI(model(provider), api_key=KEY, base_url=f"{URL}/v1", echo=False)
    with system():
        said += "Be brief."
    with user():
        said += "one two three"
    with assistant():
        said += gen("answer", max_tokens=20)
    check(said["answer"], "one two three")


OVER = PROVIDERS if REAL else ("vllm", "openai")  # it asks for log probabilities, which the others do not tell
for one in OVER:
    talk(one)
print(f"models.OpenAI over {', '.join(OVER)}: roles, streamed answers captured by gen()")
