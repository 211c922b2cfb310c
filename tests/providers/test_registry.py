"""Every provider has a dialect."""

from __future__ import annotations

from app.exchange import Provider
from app.providers.registry import DIALECTS


def test_every_provider_has_a_dialect() -> None:
    """What a configuration may name is what can be spoken."""
    assert set(DIALECTS) == set(Provider)
