"""Every provider has a dialect."""

from __future__ import annotations

from app.exchange import Provider
from app.providers.registry import DIALECTS
from tests.pipeline.parts import deployment


def test_every_provider_has_a_dialect() -> None:
    """What a configuration may name is what can be spoken."""
    written = {deployment(provider=name, prompt_format="chatml").dialect for name in ("vllm", "openai")}
    assert set(DIALECTS) == set(Provider) | written
    assert deployment().dialect == Provider.VLLM
