"""One text of an answer as the caller may see it, and the events of a stream that are more of it and nothing else."""

from __future__ import annotations

from typing import Final, Self

import orjson

from app.pipeline.cutout import cut_out
from app.safety.vault import Restorer
from app.safety.window import Window

_CONTENT: Final = b'"content":"'


class Watched:
    """What is found in a text, and what is put back into it."""

    __slots__ = ("_restorer", "window")

    def __init__(self, window: Window | None, restorer: Restorer | None) -> None:
        self.window = window
        self._restorer = restorer

    def feed(self, piece: str, *, final: bool = False) -> str:
        """What may be seen of it now."""
        window = self.window
        if window is not None:
            piece = window.feed(piece, final=final)
            final = final or window.cut
        return piece if self._restorer is None else self._restorer.feed(piece, final=final)

    @property
    def plain(self) -> Window | None:
        """Its window, where nothing is put back."""
        return self.window if self._restorer is None else None


class Alike:
    """Events that are the same as one that was read, but for their text.

    So it is where each begins and ends with the very bytes of that one, and a sound JSON string stands between: it is
    the same document with another text.
    """

    __slots__ = ("_begin", "_end", "_never_empty", "_window")

    def __init__(self, begin: bytes, end: bytes, window: Window) -> None:
        self._begin = b"data: " + begin
        self._end = end + b"\n\n"
        self._never_empty = b'"usage"' in begin or b'"usage"' in end
        self._window = window

    @classmethod
    def of(cls, data: bytes, text: Watched) -> Self | None:
        """Those that are like this one, whose `content` is more of the text; None where that is not sure."""
        parts = cut_out(data)
        if parts is None or text.plain is None or not parts[0].endswith(_CONTENT):
            return None
        return cls(*parts, text.plain)

    def glance(self, piece: bytes) -> bytes | None:
        """What may be seen of server-sent events, in the usual case that nothing is found; None changes nothing."""
        window, begin, end, at = self._window, self._begin, self._end, 0
        if piece.startswith(begin) and piece.endswith(end):  # one, where what stands between is a string
            said = _string(piece[len(begin) - 1 : 1 - len(end)])
            if said is not None:
                shown = window.glance(said)
                return piece if shown == said else None if shown is None else self._with(shown)
        out: list[bytes] = []
        before = window.state()
        while at < len(piece):
            start = at + len(begin)
            stop = piece.find(end, start) if piece.startswith(begin, at) else -1
            said = _string(piece[start - 1 : stop + 1]) if stop >= 0 else None  # with its quotes
            shown = None if said is None else window.glance(said)
            if shown is None:
                window.back(before)
                return None
            after = stop + len(end)
            out.append(piece[at:after] if shown == said else self._with(shown))
            at = after
        return b"".join(out)

    def _with(self, text: str) -> bytes:
        """Such an event with this text; none where it would be empty."""
        if not text and not self._never_empty:
            return b""
        return self._begin + orjson.dumps(text)[1:-1] + self._end


def _string(data: bytes) -> str | None:
    """A JSON string; None where it is none."""
    try:
        said = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return said if type(said) is str else None
