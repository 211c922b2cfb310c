"""A configuration in which each behaviour of the fake upstream stands behind each provider's dialect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.support.gateway import Json, config, deployment

BASES = {"vllm": "/v1", "openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta", "azure_openai": ""}
"""What follows the server's address in each provider's `base_url`."""

SPEAKS = {"openai": "openai+"}
"""How the fake upstream is told to speak as the provider does, where its path does not say so."""


def name_of(provider: str, behaviour: str) -> str:
    """The model's name."""
    return f"{provider}-{behaviour}"


def one_each_provider(url: str, providers: Iterable[str], behaviours: Iterable[str], **settings: Any) -> Json:
    """Models `vllm-echo`, `anthropic-echo` and so on, and `echo`, which the test keys name."""
    wanted = [(provider, behaviour) for provider in providers for behaviour in behaviours]
    deployments = [
        deployment(f"to-{number}", url, SPEAKS.get(provider, "") + behaviour, provider=provider)
        | {"base_url": url + BASES[provider], **settings}
        for number, (provider, behaviour) in enumerate(wanted)
    ]
    models = [
        {"name": name_of(provider, behaviour), "stable": one["name"]}
        for (provider, behaviour), one in zip(wanted, deployments, strict=True)
    ]
    plain = deployment("to-echo", url, "echo")
    return config([*deployments, plain], [*models, {"name": "echo", "stable": "to-echo"}])
