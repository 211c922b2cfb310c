"""HTTP/1.1 at the line: requests as ready bytes, responses read with as little work as a load generator can afford.

It reads what the servers under test send, not all of HTTP: no trailers with content, no upgrade, no
pipelining. What it does not expect it reports as a fault; it never guesses.
"""

from __future__ import annotations

from enum import IntEnum


class WireError(Exception):
    """The peer sent something that is no HTTP/1.1 response, or more than one."""


class _Part(IntEnum):
    HEAD = 0
    SIZED = 1  # content-length
    CHUNKED = 2
    UNTIL_CLOSE = 3
    DONE = 4


def request_bytes(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """One whole request, ready to be written; `headers` must hold `host`, and may announce a length of their own."""
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if "content-length" not in headers and (body or method == "POST"):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Reply:
    """One response while it arrives.

    `feed` takes bytes as they came; `done` tells when the response is whole. `status` is 0 until the head has
    come. `events` counts server-sent events begun so far: exact for the whole, and a piece late where the
    five letters `data:` are cut by a segment's border.
    """

    __slots__ = ("_buffer", "_left", "_part", "_pieces", "_tail", "closes", "events", "head", "status")

    def __init__(self) -> None:
        self.status = 0
        self.head = b""
        self.closes = False
        self.events = 0
        self._part = _Part.HEAD
        self._buffer = b""
        self._left = 0
        self._pieces: list[bytes] = []
        self._tail = b""

    @property
    def done(self) -> bool:
        """Whether the response is whole."""
        return self._part is _Part.DONE

    @property
    def body(self) -> bytes:
        """What has come of the body, decoded."""
        return b"".join(self._pieces)

    def feed(self, data: bytes) -> None:
        """Take bytes from the line; raises `WireError` on what is no response, or on bytes after its end."""
        if self._part is _Part.HEAD:
            data = self._read_head(data)
        if not data:
            return
        if self._part is _Part.CHUNKED:
            self._read_chunks(data)
        elif self._part is _Part.SIZED:
            self._read_sized(data)
        elif self._part is _Part.UNTIL_CLOSE:
            self._take(data)
        else:
            raise WireError("bytes after the end of the response")

    def feed_eof(self) -> None:
        """The peer closed; raises `WireError` when the response is not whole by then."""
        if self._part is _Part.UNTIL_CLOSE:
            self._part = _Part.DONE
        if self._part is not _Part.DONE:
            raise WireError("closed within the response" if self.status else "closed before the response")

    def _read_head(self, data: bytes) -> bytes:
        """The bytes after the head, or none while it is not whole."""
        data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = data
            return b""
        self._buffer = b""
        head, rest = data[:end].lower(), data[end + 4 :]
        if not head.startswith(b"http/1.1 "):
            raise WireError(f"not HTTP/1.1: {head[:40]!r}")
        status = int(head[9:12])
        if status < 200:  # an interim response: the real one follows
            return self._read_head(rest)
        self.status, self.head = status, head
        self._frame(head)
        return rest

    def _frame(self, head: bytes) -> None:
        self.closes = b"\r\nconnection: close" in head
        at = head.find(b"\r\ncontent-length:")
        if at >= 0:
            end = head.find(b"\r\n", at + 2)
            self._left = int(head[at + 17 : end if end > 0 else None])
            self._part = _Part.SIZED if self._left else _Part.DONE
        elif b"\r\ntransfer-encoding: chunked" in head:
            self._part = _Part.CHUNKED
        elif self.status == 204:
            self._part = _Part.DONE
        else:
            self._part, self.closes = _Part.UNTIL_CLOSE, True

    def _read_sized(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise WireError("more bytes than content-length")
        self._take(data)
        if not self._left:
            self._part = _Part.DONE

    def _read_chunks(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        at = 0
        while True:
            line_end = buffer.find(b"\r\n", at)
            if line_end < 0:
                break
            size = int(buffer[at:line_end].partition(b";")[0], 16)
            end = line_end + 2 + size + 2
            if end > len(buffer):
                break
            if not size:
                self._part = _Part.DONE
                self._buffer = b""
                if end < len(buffer):
                    raise WireError("bytes after the last chunk")
                return
            self._take(buffer[line_end + 2 : end - 2])
            at = end
        self._buffer = buffer[at:]

    def _take(self, piece: bytes) -> None:
        self._pieces.append(piece)
        seen = self._tail + piece
        self.events += seen.count(b"data:")
        # Four letters can be the beginning of a fifth; five would be counted twice.
        self._tail = seen[-4:]
