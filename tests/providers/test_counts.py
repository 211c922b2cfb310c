"""Numbers of tokens, in vLLM's shape whoever counted; counting costs nothing."""

from __future__ import annotations

import orjson
import pytest

from app.exchange import Usage
from app.providers.counts import CountDecoder


def test_a_count() -> None:
    """From the field that holds it."""
    decoder = CountDecoder("input_tokens")
    (event,) = decoder.body(b'{"input_tokens": 12}')
    assert (event.doc["count"], orjson.loads(event.data), event.usage) == (12, event.doc, Usage(0, 0))
    assert decoder.finished


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"input_tokens": "12"}', b"x"])
def test_no_count(body: bytes) -> None:
    """Something else is malformed; so is a stream."""
    with pytest.raises(ValueError, match=r"no number|unexpected character"):
        CountDecoder("input_tokens").body(body)
    with pytest.raises(ValueError, match="stream"):
        CountDecoder("input_tokens").feed(body)
