"""A configuration as it may be shown: secrets as the references that stand in the file."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from app.config.schema import Config

_VERSION_LENGTH = 12


def redacted(config: Config) -> dict[str, Any]:
    """Every setting, defaults included, as JSON values; a secret is its reference (`env:NAME`), never its value."""
    return config.model_dump(mode="json")


def version(config: Config) -> str:
    """A short name of the content: 12 hexadecimal digits, the same in every worker.

    Made from what `redacted` shows, so that it cannot be used to test guesses of a secret; a rotated secret
    keeps the version.
    """
    text = json.dumps(redacted(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_VERSION_LENGTH]
