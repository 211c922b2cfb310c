"""Request heads: what they look like, and what is never let into one."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import Failure, UpstreamFailure
from app.exchange import Endpoint, Outbound
from app.providers.heads import MAX_REMEMBERED, Heads

ENDPOINT = Endpoint("http", "upstream.example", 8000, "/v1")


def request(
    *headers: tuple[str, str], method: str = "POST", path: str = "/chat", body: bytes = b"{}", root: bool = False
) -> Outbound:
    """A request with these headers."""
    return Outbound(method, path, headers, body, stream=False, from_root=root)


def test_head() -> None:
    """Request line, host, our encoding, the given headers in their order, the length."""
    assert Heads(ENDPOINT).render(request(("a", "1"), ("b", "2"))) == (
        b"POST /v1/chat HTTP/1.1\r\nhost: upstream.example:8000\r\naccept-encoding: identity\r\n"
        b"a: 1\r\nb: 2\r\ncontent-length: 2\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("given_request", "line", "length"),
    [
        (request(method="GET", body=b""), b"GET /v1/chat HTTP/1.1", False),
        (request(method="HEAD", body=b""), b"HEAD /v1/chat HTTP/1.1", False),
        (request(body=b""), b"POST /v1/chat HTTP/1.1", True),
        (request(method="GET", body=b"x"), b"GET /v1/chat HTTP/1.1", True),
        (request(method="GET", path="/health", body=b"", root=True), b"GET /health HTTP/1.1", False),
        (request(path="/chat?api-version=2024%2D10"), b"POST /v1/chat?api-version=2024%2D10 HTTP/1.1", True),
    ],
    ids=["get", "head", "empty post", "get with body", "from root", "query"],
)
def test_kinds_of_request(given_request: Outbound, line: bytes, length: object) -> None:
    """The path may replace the base path; a length is stated where there may be a body."""
    head = Heads(ENDPOINT).render(given_request)
    assert head.startswith(line + b"\r\n")
    assert (b"content-length" in head) == length


@pytest.mark.parametrize(
    "bad",
    [
        request(("a", "1\r\nx: 2")),
        request(("a", "1\nx: 2")),
        request(("a", "1\rx")),
        request(("a", "1\0")),
        request(("a", "€")),
        request(("a: b\r\nc", "1")),
        request(("", "1")),
        request(("A", "1")),
        request(("a b", "1")),
        request(("content-length", "5")),
        request(("transfer-encoding", "chunked")),
        request(("host", "elsewhere")),
        request(("connection", "upgrade")),
        request(path="/chat HTTP/1.1\r\nx: y"),
        request(path="chat", root=True),
        request(path="/chät"),
        request(method="GET /admin HTTP/1.1\r\n"),
        request(method=""),
    ],
    ids=range(18),
)
def test_what_is_never_sent(bad: Outbound) -> None:
    """Line breaks, NUL, names that are none, framing that is the transport's: a failure, and nothing was sent."""
    with pytest.raises(UpstreamFailure) as caught:
        Heads(ENDPOINT).render(bad)
    assert (caught.value.failure, caught.value.sent) == (Failure.PROTOCOL, False)


def test_what_is_remembered_is_bounded() -> None:
    """Paths and names that vary with callers take no memory."""
    heads = Heads(ENDPOINT)
    for i in range(3 * MAX_REMEMBERED):
        assert heads.render(request((f"x-{i}", "v"), path=f"/{i}")).endswith(b"v\r\ncontent-length: 2\r\n\r\n")
    assert len(heads._names) <= MAX_REMEMBERED
    assert len(heads._begins) <= MAX_REMEMBERED


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=12)), max_size=4))
def test_nothing_can_be_smuggled(headers: list[tuple[str, str]]) -> None:
    """Whatever the headers: refused, or a server reads exactly these."""
    try:
        head = Heads(ENDPOINT).render(request(*headers))
    except UpstreamFailure:
        return
    server = h11.Connection(h11.SERVER)
    server.receive_data(head + b"{}")
    try:
        got = server.next_event()
    except h11.RemoteProtocolError:
        return  # a control character: refused there
    assert isinstance(got, h11.Request)
    read = [(name.decode(), value.decode("latin-1")) for name, value in got.headers]
    assert read[2:-1] == [(name, value.strip(" \t")) for name, value in headers]
