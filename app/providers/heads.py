"""Request heads (RFC 9112, section 3), put together from templates so that a hot request costs one `%`.

Nothing that a value contains can end a header line: line breaks and NUL are counted on the finished text.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from app.errors import Failure, UpstreamFailure
from app.exchange import Endpoint, Outbound

MAX_TEMPLATES: Final = 64
"""Per endpoint. More kinds of request than that means that names vary with callers: begin again."""

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_TARGET: Final = re.compile(r"/[!-~]*")
_OURS: Final = frozenset(
    {
        "host", "content-length", "transfer-encoding", "accept-encoding", "connection", "keep-alive", "te", "trailer",
        "upgrade", "expect", "proxy-connection",
    }
)  # fmt: skip


class Template(NamedTuple):
    """A head with a `%s` for each header's value and, where there is a body, one for its length."""

    text: str
    lines: int


class Heads:
    """The request heads of one endpoint."""

    __slots__ = ("_endpoint", "_templates")

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._templates: dict[tuple[object, ...], Template] = {}

    def render(self, request: Outbound) -> bytes:
        """The head as bytes, with the empty line. Raises `UpstreamFailure` where it would be malformed."""
        names, values = zip(*request.headers, strict=True) if request.headers else ((), ())
        body = request.body
        with_body = bool(body)
        key = (request.path, names, request.method, with_body, request.from_root)
        template = self._templates.get(key)
        if template is None:
            template = self._templates[key] = self._compile(request, names)
        text = template.text % ((*values, len(body)) if with_body else values)
        lines = template.lines
        if text.count("\n") != lines or text.count("\r") != lines or "\0" in text:
            raise _malformed("a header value holds a line break or NUL")
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            raise _malformed("a header value does not fit into Latin-1") from None

    def _compile(self, request: Outbound, names: tuple[str, ...]) -> Template:
        for name in names:
            if not _NAME.fullmatch(name):
                raise _malformed(f"{name!r} is no lower-case header name")
            if name in _OURS:
                raise _malformed(f"the header {name!r} belongs to the transport")
        if len(self._templates) >= MAX_TEMPLATES:
            self._templates.clear()
        lines = [self._request_line(request), f"host: {self._endpoint.authority}", "accept-encoding: identity"]
        lines = [line.replace("%", "%%") for line in lines]
        lines += [f"{name.replace('%', '%%')}: %s" for name in names]
        if request.body:
            lines.append("content-length: %s")
        elif request.method not in {"GET", "HEAD"}:
            lines.append("content-length: 0")
        return Template("\r\n".join(lines) + "\r\n\r\n", len(lines) + 1)

    def _request_line(self, request: Outbound) -> str:
        path = request.path if request.from_root else self._endpoint.base_path + request.path
        if not _TARGET.fullmatch(path) or not request.method.isalpha():
            raise _malformed(f"{request.method!r} {path!r} is no request line")
        return f"{request.method} {path} HTTP/1.1"


def _malformed(detail: str) -> UpstreamFailure:
    return UpstreamFailure(Failure.PROTOCOL, f"request not sent: {detail}", sent=False)
