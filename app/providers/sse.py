"""Server-sent events out of the pieces of a body: WHATWG HTML, section 9.2 (parsing an event stream). Pure.

What a gateway's upstreams need: the payloads of `data` fields, with or without the events' names. `id` and `retry`
are read over, for nobody reconnects.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Generic, TypeVar

MAX_EVENT: Final = 1024 * 1024
"""Bytes that one event may have, by default."""

_BOM: Final = b"\xef\xbb\xbf"

E = TypeVar("E")


class _Parser(ABC, Generic[E]):
    """Lines to events. `limit` bounds one event in bytes, unfinished lines and comments included."""

    __slots__ = ("_data", "_limit", "_line", "_name", "_size", "_skip_lf", "_start", "between")

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._line: list[bytes] = []  # the pieces of the line that has not ended yet
        self._data: list[bytes] = []  # the values of the event's `data` lines
        self._name = b""
        self.between = True
        """Whether nothing of an event has come yet: the next piece begins one."""
        self._size = 0
        self._skip_lf = False  # the last piece ended in a CR, which was taken as the line's end
        self._start: bytes | None = b""  # what came before it is known whether the stream begins with a BOM

    @property
    def pending(self) -> bool:
        """Whether an event has begun and not ended: at the end of the body, it was cut."""
        line = self._line
        return bool(self._data) or bool(line and not line[0].startswith(b":")) or bool(self._start)

    @abstractmethod
    def _event(self, name: bytes, data: bytes) -> E: ...

    def _parse(self, data: bytes) -> list[E]:
        """The events that end in `data`. Raises `ValueError` when one grows beyond the limit."""
        if self._start is not None:
            data = self._without_bom(data)
        if self._skip_lf and data:
            self._skip_lf = False
            if data.startswith(b"\n"):
                data = data[1:]
        if b"\r" in data:
            self._skip_lf = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        events: list[E] = []
        *ended, rest = data.split(b"\n")
        for piece in ended:
            if self._line:
                self._keep(piece)
                line = b"".join(self._line)
                self._line.clear()
            else:
                line = piece
                self._grow(len(piece))
            self._take(line, events)
        if rest:
            self._keep(rest)
        self.between = not (self._size or self._skip_lf or self._start)
        return events

    def _without_bom(self, data: bytes) -> bytes:
        data = (self._start or b"") + data
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._start = data
            return b""
        self._start = None
        return data.removeprefix(_BOM)

    def _keep(self, piece: bytes) -> None:
        self._line.append(piece)
        self._grow(len(piece))

    def _grow(self, by: int) -> None:
        self._size += by
        if self._size > self._limit:
            raise ValueError(f"a server-sent event of more than {self._limit} bytes")

    def _take(self, line: bytes, events: list[E]) -> None:
        if not line:
            if self._data:
                events.append(self._event(self._name, b"\n".join(self._data)))
                self._data.clear()
            self._name = b""
            self._size = 0
            return
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
        elif field == b"event":
            self._name = value.removeprefix(b" ")


class SSEParser(_Parser[bytes]):
    """Events as their `data` alone, for streams whose events have no names."""

    __slots__ = ()

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the events that end in `data`. Raises `ValueError` when one grows beyond the limit."""
        # What all but every piece looks like: whole events of one `data: ` line each; mostly one. n events have 2n line
        # feeds exactly if none has one inside.
        if self.between and data.startswith(b"data: ") and data.endswith(b"\n\n") and b"\r" not in data:
            size = len(data)
            if size <= self._limit:
                self._start = None
                if data.find(b"\n") == size - 2:
                    return [data[6:-2]]
                payloads = data[6:-2].split(b"\n\ndata: ")
                if data.count(b"\n") == 2 * len(payloads):
                    return payloads
        return self._parse(data)

    def _event(self, name: bytes, data: bytes) -> bytes:  # noqa: ARG002 -- this kind has no use for the name
        return data


class NamedSSEParser(_Parser[tuple[bytes, bytes]]):
    """Events as pairs of name and `data`; the name is empty where the stream gives none."""

    __slots__ = ()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The events that end in `data`. Raises `ValueError` when one grows beyond the limit."""
        return self._parse(data)

    def _event(self, name: bytes, data: bytes) -> tuple[bytes, bytes]:
        return name, data
