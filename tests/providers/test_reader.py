"""Decoders that translate pass nothing on unread."""

from __future__ import annotations

from app.providers.reader import Reader


def test_nothing_is_known_at_a_glance() -> None:
    """So that everything is fed."""
    reader = Reader()
    assert reader.glance(b"data: {}") == b""
    assert (reader.finished, reader.failure, reader.glanced, reader.usage) == (False, None, 0, None)
