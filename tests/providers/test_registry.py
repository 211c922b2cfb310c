"""Every provider that the configuration lets through has a dialect."""

from __future__ import annotations

from app.config.not_yet import NOT_YET
from app.providers.registry import DIALECTS


def test_every_built_provider_has_a_dialect() -> None:
    """What `not_yet` lets through and what is registered are the same."""
    (built,) = (entry.off for entry in NOT_YET if entry.pattern == "deployments[].provider")
    assert set(DIALECTS) == set(built)
