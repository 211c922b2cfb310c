"""The conversion of multilingual-e5-small."""

from __future__ import annotations

import pytest

from tests.safety.models.conftest import Run

TWICE = """
from pathlib import Path
from app.safety.models.e5 import Tokens, converted
from app.safety.models.encoders import cache_folder
model, weights = converted(cache_folder())
before = model.stat().st_mtime_ns
assert converted(cache_folder())[0].stat().st_mtime_ns == before, "it is converted once"
assert sorted(path.suffix for path in cache_folder().iterdir()) == [".onnx"], "nothing half done is left"
tokens = Tokens(weights, 8)
cut = len(tokens("one two three " * 50))
print(model.stat().st_size // 1_000_000, len(weights.pieces), tokens("query: Hello"), cut)
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_is_converted_once_and_read_with_its_own_tokens(with_extra: Run) -> None:
    """About 130 MB; a long text ends with the sign that ends every text."""
    size, pieces, *rest = with_extra(TWICE).split()
    assert 120 <= int(size) <= 140
    assert int(pieces) == 250_002
    assert rest[-1] == "8"
    assert rest[0] == "[0,"
