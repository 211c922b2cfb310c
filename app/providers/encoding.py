"""Bodies that come compressed although the request said `accept-encoding: identity` (RFC 9110, section 8.4).

Decoded piece by piece with a bound on every piece, and given up on when they grow like a bomb.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from app.errors import Failure, UpstreamFailure
from app.providers.failures import Phase, upstream_failure

MAX_PIECE: Final = 256 * 1024
"""The most that one `read` returns, in bytes."""
BOMB_FLOOR: Final = 16 * 1024 * 1024
BOMB_RATIO: Final = 400
"""Past `BOMB_FLOOR` decoded bytes, more than this many for each that came mean a bomb (deflate reaches 1032)."""

_KNOWN: Final = frozenset({"gzip", "x-gzip", "deflate"})


Tap = Callable[[bytes], bool]
"""Is offered a piece of a body as soon as it is here; says whether it has taken it."""


class Source(Protocol):
    """A reply whose body may be encoded."""

    status: int

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""

    async def read(self) -> bytes:
        """The next piece; empty at the end."""

    def close(self, *, drain: bool = False) -> None:
        """Let go of it."""


async def gather(source: Source, limit: int) -> bytes:
    """The whole body. Raises `UpstreamFailure`, also when it is longer than `limit` bytes."""
    pieces: list[bytes] = []
    size = 0
    while piece := await source.read():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            source.close()
            raise UpstreamFailure(Failure.PROTOCOL, f"the body is longer than {limit} bytes", sent=True)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Inflater:
    """gzip (also of several members) or deflate (also without its zlib header, as some servers send it)."""

    __slots__ = ("_coding", "_fed", "_given", "_rest", "_zlib", "waiting")

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._zlib: zlib._Decompress | None = None
        self._rest = b""
        self._fed = 0
        self._given = 0
        self.waiting = False
        """Whether `decode` has more to give without being fed."""

    @property
    def whole(self) -> bool:
        """Whether the compressed stream has come to its end, or never began."""
        return self._fed == 0 or (self._zlib is not None and self._zlib.eof and not self._rest)

    def decode(self, piece: bytes) -> bytes:
        """At most `MAX_PIECE` decoded bytes. Raises `zlib.error`, also on a bomb."""
        self._fed += len(piece)
        data = self._rest + piece if self._rest else piece
        if self._zlib is None or (self._zlib.eof and data):
            if len(data) < 2:  # two bytes tell which kind it is
                self._rest = data
                self.waiting = False
                return b""
            self._zlib = self._begin(data)
        out = self._zlib.decompress(data, MAX_PIECE)
        self._rest = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
        self.waiting = len(out) == MAX_PIECE or bool(self._rest)
        self._given += len(out)
        if self._given > BOMB_FLOOR and self._given > BOMB_RATIO * self._fed:
            raise zlib.error(f"{self._fed} bytes grew to more than {self._given}")
        return out

    def _begin(self, data: bytes) -> zlib._Decompress:
        if self._zlib is not None and self._coding == "deflate":
            raise zlib.error("data after the end of the deflate stream")
        if self._coding != "deflate":
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        # RFC 1950: method 8 in the low bits, and the two bytes together a multiple of 31.
        wrapped = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
        return zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)


class DecodedReply:
    """A reply whose body is decoded on the way through. `content-encoding` and `content-length` no longer hold."""

    __slots__ = ("_inflater", "_source", "headers", "status")

    def __init__(self, source: Source, coding: str) -> None:
        self._source = source
        self._inflater = Inflater(coding)
        self.status = source.status
        dropped = {"content-encoding", "content-length"}
        self.headers: Mapping[str, str] = {k: v for k, v in source.headers.items() if k not in dropped}

    async def read(self, tap: Tap | None = None) -> bytes:
        """The next decoded piece that `tap` leaves; empty at the end. Raises `UpstreamFailure`."""
        inflater = self._inflater
        while True:
            piece = b"" if inflater.waiting else await self._source.read()
            if not piece and not inflater.waiting:
                if not inflater.whole:
                    raise UpstreamFailure(Failure.TRUNCATED, "the compressed body ends early", sent=True)
                return b""
            try:
                out = inflater.decode(piece)
            except zlib.error as error:
                self.close()
                raise upstream_failure(error, Phase.BODY) from error
            if out and (tap is None or not tap(out)):
                return out

    async def read_all(self, limit: int) -> bytes:
        """The whole decoded body. Raises `UpstreamFailure`, also past `limit` bytes."""
        return await gather(self, limit)

    def close(self, *, drain: bool = False) -> None:
        """Close the reply underneath."""
        self._source.close(drain=drain)


def coding_of(headers: Mapping[str, str]) -> str | None:
    """The content coding to undo, None for identity. Raises `UpstreamFailure` on one that is not known."""
    coding = headers["content-encoding"].strip().lower()
    if coding in {"", "identity"}:
        return None
    if coding not in _KNOWN:
        raise UpstreamFailure(Failure.PROTOCOL, f"content-encoding {coding!r}, not the identity asked for", sent=True)
    return coding
