"""Where the text stands in a chunk of a stream: what is in front of it, and what is behind. Pure."""

from __future__ import annotations

from typing import Final

_KEYS: Final = (b'"content":"', b'"reasoning_content":"', b'"reasoning":"', b'"text":"')


def cut_out(data: bytes) -> tuple[bytes, bytes] | None:
    """What stands before and after the text. Inside a string a quote has a backslash before it: a key is a key.

    None where there is no text, more than one of a name, or one with an escape in it: all that is sure is told.
    """
    if b"\n" in data or b"\r" in data:
        return None
    for key in _KEYS:
        if data.count(key) == 1:
            start = data.index(key) + len(key)
            stop = data.index(b'"', start)
            if stop > start and b"\\" not in data[start:stop]:
                return data[:start], data[stop:]
    return None
