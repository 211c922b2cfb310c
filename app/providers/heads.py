"""Request heads (RFC 9112, section 3), put together from prepared pieces.

Names are checked once and remembered; values are checked each time: none may end its line.
"""

from __future__ import annotations

import re
from typing import Final

from app.errors import Failure, UpstreamFailure
from app.exchange import Endpoint, Outbound

MAX_REMEMBERED: Final = 256
"""Names, and request lines, remembered per endpoint. Beyond that they seem to vary with callers: begin again."""

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_TARGET: Final = re.compile(r"/[!-~]*")
_OURS: Final = frozenset(
    {
        "host", "content-length", "transfer-encoding", "accept-encoding", "connection", "keep-alive", "te", "trailer",
        "upgrade", "expect", "proxy-connection",
    }
)  # fmt: skip


class Heads:
    """The request heads of one endpoint."""

    __slots__ = ("_begins", "_endpoint", "_names")

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._names: dict[str, str] = {}
        self._begins: dict[tuple[str, str, bool], str] = {}

    def render(self, request: Outbound) -> bytes:
        """The head as bytes, with the empty line. Raises `UpstreamFailure` where it would be malformed."""
        key = (request.path, request.method, request.from_root)
        text = self._begins.get(key) or self._begin(request)
        names = self._names
        values = ""
        for name, value in request.headers:
            text += f"{names.get(name) or self._name(name)}{value}\r\n"
            values += value
        if "\n" in values or "\r" in values or "\0" in values:
            raise _malformed("a header value holds a line break or NUL")
        size = len(request.body)
        if size or request.method not in {"GET", "HEAD"}:
            text = f"{text}content-length: {size}\r\n\r\n"
        else:
            text += "\r\n"
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            raise _malformed("a header value does not fit into Latin-1") from None

    def _name(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise _malformed(f"{name!r} is no lower-case header name")
        if name in _OURS:
            raise _malformed(f"the header {name!r} belongs to the transport")
        if len(self._names) >= MAX_REMEMBERED:
            self._names.clear()
        start = self._names[name] = f"{name}: "
        return start

    def _begin(self, request: Outbound) -> str:
        path = request.path if request.from_root else self._endpoint.base_path + request.path
        if not _TARGET.fullmatch(path) or not (request.method.isascii() and request.method.isupper()):
            raise _malformed(f"{request.method!r} {path!r} is no request line")
        host = self._endpoint.authority
        begin = f"{request.method} {path} HTTP/1.1\r\nhost: {host}\r\naccept-encoding: identity\r\n"
        if len(self._begins) >= MAX_REMEMBERED:
            self._begins.clear()
        self._begins[request.path, request.method, request.from_root] = begin
        return begin


def _malformed(detail: str) -> UpstreamFailure:
    return UpstreamFailure(Failure.PROTOCOL, f"request not sent: {detail}", sent=False)
