"""Where the text of a chunk stands, and where that is not sure."""

from __future__ import annotations

import pytest

from app.pipeline.cutout import cut_out

BEFORE, AFTER = b'{"id":"c","choices":[{"delta":{"content":"', b'"},"finish_reason":null}]}'


def test_a_text_is_cut_out() -> None:
    """What stands around it, whatever it is called."""
    assert cut_out(BEFORE + b"hi" + AFTER) == (BEFORE, AFTER)
    assert cut_out(b'{"reasoning":"hm"}') == (b'{"reasoning":"', b'"}')


@pytest.mark.parametrize(
    "data",
    [
        BEFORE + AFTER,
        BEFORE + b"a\\n" + AFTER,
        BEFORE + b"a\n" + AFTER,
        BEFORE + b"a" + AFTER[:-1] + b',"content":"b"}',
        b'{"choices":[{"delta":{"tool_calls":[]}}]}',
    ],
)
def test_what_is_not_sure(data: bytes) -> None:
    """No text, an escape in it, several lines, two of them, no such field."""
    assert cut_out(data) is None
