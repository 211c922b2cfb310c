"""Callers' connections are bounded in time, size and memory, whatever comes; a clear answer where there is one."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.server import LINGER, MAX_HEAD, MOST_WAITING, Bounds
from tests.support.gateway import KEY, LIMITED_KEY, Gateway, Json
from tests.support.processes import resident
from tests.support.serving import Message, Receive, Send, Serving
from tests.support.sockets import Answer, Answers, ask, chat_request, connect, exchange, read_until
from tests.support.upstream import Upstream

MB = 2**20
GOOD = chat_request("echo", stream=False)
LAST = chat_request("echo", stream=False, head="connection: close\r\n")


@pytest.fixture(scope="module", autouse=True)
def nothing_stays(tight: Gateway) -> Iterator[None]:
    """After everything that is tried here no connection is open, and every request has one outcome and one line."""

    def sockets() -> int:
        """How many are open; the ledger's files come and go."""
        found = 0
        for descriptor in Path(f"/proc/{tight.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found += descriptor.readlink().name.startswith("socket:")
        return found

    def uncounted() -> int:
        """Outcomes without a line."""
        return sum(tight.outcomes().values()) - len(tight.lines())

    time.sleep(0.5)  # the lines of the tests before are written by then
    before = sockets(), uncounted()
    yield
    tight.until(lambda: sockets() <= before[0] + 2, seconds=LINGER + 10)
    tight.until(lambda: uncounted() == before[1])


@pytest.fixture(autouse=True)
def others(tight: Gateway) -> Iterator[None]:
    """Whatever was done to one connection, others are served."""
    yield
    with connect(tight.url) as connection:
        connection.sendall(GOOD)
        assert Answers(connection).next().status == 200


def post(lines: str, *, key: str = KEY, path: str = "/v1/chat/completions") -> bytes:
    """The head of a POST."""
    return f"POST {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {key}\r\n{lines}\r\n".encode()


def line(gateway: Gateway, request_id: str) -> Json:
    """The access line of a request, once it is written."""
    gateway.until(lambda: request_id in gateway.access_log.read_text())
    (found,) = (one for one in gateway.lines() if one["request_id"] == request_id)
    return found


def code(answer: Answer) -> str:
    """The error's code, in OpenAI's shape."""
    return str(answer.body).partition('"code":"')[2].partition('"')[0]


# --- heads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [MAX_HEAD, 70_000, 200_000, 2 * MB])
def test_a_head_over_its_bound_is_refused(tight: Gateway, size: int) -> None:
    """In however many pieces it comes; the answer arrives although the head was still being sent."""
    with connect(tight.url) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(post(f"x-bomb: {'x' * size}\r\ncontent-length: 0\r\n"))
        (answer,) = Answers(connection).rest()
    assert (answer.status, code(answer), answer.headers["connection"]) == (431, "request_too_large", "close")


def test_a_head_of_many_small_headers_is_bounded_too(tight: Gateway) -> None:
    """Sixteen thousand empty ones."""
    (answer,) = ask(tight.url, post("a:\r\n" * 16_500))
    assert answer.status == 431


def test_a_head_within_its_bound_is_served(tight: Gateway) -> None:
    """Close to it, and with a body that makes the whole larger than the bound."""
    request = chat_request("echo", stream=False, text="word " * 4000, head=f"x-large: {'x' * 65_000}\r\n")
    with connect(tight.url) as connection:
        connection.sendall(request)
        assert Answers(connection).next().status == 200


@pytest.mark.parametrize("trickle", [False, True])
def test_a_head_that_is_never_completed(tight: Gateway, *, trickle: bool) -> None:
    """Slow loris: 408 once `header_timeout` is over, however often another byte comes."""
    began = time.monotonic()
    with connect(tight.url) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nx: ")
        connection.settimeout(0.1 if trickle else 5)
        answers = Answers(connection)
        found: list[Answer] = []
        while not found:
            with contextlib.suppress(TimeoutError):
                found = answers.rest()
            if trickle and not found:
                connection.sendall(b"x")
    assert (found[0].status, code(found[0])) == (408, "request_timeout")
    assert 0.4 < time.monotonic() - began < 2


def test_a_connection_on_which_nothing_comes(tight: Gateway) -> None:
    """It is closed after `header_timeout`, without a word."""
    began = time.monotonic()
    assert exchange(tight.url, b"") == b""
    assert 0.4 < time.monotonic() - began < 2


def test_the_head_of_a_later_request_has_a_bound_of_its_own(tight: Gateway) -> None:
    """Size and time begin anew with each request of a connection."""
    with connect(tight.url) as connection:
        answers = Answers(connection)
        for _ in range(3):
            time.sleep(0.3)
            request = chat_request("echo", stream=False, head=f"x: {'x' * 40_000}\r\n")
            connection.sendall(request[:30_000])
            time.sleep(0.05)
            connection.sendall(request[30_000:])
            assert answers.next().status == 200
        connection.sendall(b"GET /liv")
        assert [answer.status for answer in answers.rest()] == [408]


GARBAGE = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "words": b"hello\r\n\r\n", "zeros": bytes(4000), "version": b"GET / HTTP/9.9\r\n\r\n",
    "header without colon": post("nonsense\r\n"), "folded header": post("a: b\r\n c\r\n"),
    "space before colon": post("a : b\r\n"), "bare carriage return": post("a: b\rc: d\r\n"),
    "zero in header": post("a: b\0\r\n"),
    "length with sign": post("content-length: +3\r\n") + b"abc", "length is a word": post("content-length: ten\r\n"),
    "no length": post("content-length:\r\n"), "endless length": post(f"content-length: {'9' * 30}\r\n"),
    "two lengths": post("content-length: 3\r\ncontent-length: 4\r\n") + b"abcd",
    "length and chunks": post("transfer-encoding: chunked\r\ncontent-length: 3\r\n"),
    "chunks twice": post("transfer-encoding: chunked, chunked\r\n"),
    "chunks not last": post("transfer-encoding: chunked, gzip\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", GARBAGE)
def test_garbage_instead_of_a_head(tight: Gateway, case: str) -> None:
    """400 in OpenAI's shape, then the end; nothing was a request, so nothing is counted."""
    before = tight.outcomes()
    (answer,) = ask(tight.url, GARBAGE[case])
    assert (answer.status, code(answer), answer.headers["connection"]) == (400, "invalid_request", "close")
    assert tight.outcomes() == before


@settings(max_examples=60)
@given(st.lists(st.sampled_from([*GARBAGE.values(), GOOD, b"\r\n", b"\xff\x00"]) | st.binary(max_size=60), max_size=6))
def test_any_bytes(tight: Gateway, pieces: list[bytes]) -> None:
    """Each answer is a sound one, and none is a 500."""
    with connect(tight.url) as connection, contextlib.suppress(ConnectionError):
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        assert {answer.status for answer in Answers(connection).rest()} <= {200, 400, 401, 404, 405, 408, 431}


# --- bodies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trickle", [False, True])
def test_a_body_slower_than_its_bound(tight: Gateway, *, trickle: bool) -> None:
    """408 once `body_timeout` is over, however often another byte comes; counted as the request that it is."""
    began = time.monotonic()
    with connect(tight.url) as connection:
        connection.sendall(post("content-length: 1000\r\n") + b'{"model": ')
        while trickle and time.monotonic() - began < 0.5:
            time.sleep(0.05)
            connection.sendall(b" ")
        answer = Answers(connection).next()
    assert (answer.status, code(answer), answer.headers["connection"]) == (408, "request_timeout", "close")
    assert 0.5 < time.monotonic() - began < 2.5
    assert line(tight, answer.headers["x-request-id"])["outcome"] == "refused_invalid"


def test_a_body_that_is_no_chunks(tight: Gateway) -> None:
    """The body's fault is its request's: 400, counted, with the request's id."""
    (answer,) = ask(tight.url, post("transfer-encoding: chunked\r\n") + b"5\r\nhelloXX\r\n")
    assert (answer.status, code(answer)) == (400, "invalid_request")
    assert line(tight, answer.headers["x-request-id"])["outcome"] == "refused_invalid"


def test_200_mb_announced(tight: Gateway) -> None:
    """413 at once, before a byte of it was sent, and whatever is sent all the same is thrown away."""
    before, began = resident(tight.pid), time.monotonic()
    with connect(tight.url) as connection:
        connection.sendall(post(f"content-length: {200 * MB}\r\n"))
        answer = Answers(connection).next()
        assert time.monotonic() - began < 0.5
        assert (answer.status, code(answer), answer.headers["connection"]) == (413, "request_too_large", "close")
        with contextlib.suppress(ConnectionError):
            for _ in range(50):
                connection.sendall(bytes(MB))
        assert resident(tight.pid) - before < 8 * MB


def test_200_mb_in_chunks(tight: Gateway) -> None:
    """413 as soon as the limit is passed; who goes on sending has the answer, and `LINGER` seconds; memory stays."""
    before, chunk = resident(tight.pid), b"8000\r\n" + bytes(0x8000) + b"\r\n"
    most = sent = 0
    with connect(tight.url) as connection:
        connection.sendall(post("transfer-encoding: chunked\r\n"))
        connection.sendall(chunk * 3)
        answer = Answers(connection).next()
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while sent < 200 * MB:
                connection.sendall(chunk)
                sent += len(chunk)
                most = max(most, resident(tight.pid) if sent % (64 * len(chunk)) == 0 else 0)
                time.sleep(0.001)
        assert time.monotonic() - began < LINGER + 1
    assert (answer.status, code(answer), answer.headers["connection"]) == (413, "request_too_large", "close")
    assert sent < 200 * MB
    assert most - before < 8 * MB


def test_a_body_of_exactly_the_limit_is_read(tight: Gateway) -> None:
    """It is bad JSON, so it was looked at; one byte more is not."""
    for size, status in ((65_536, 400), (65_537, 413)):
        (answer,) = ask(tight.url, post(f"content-length: {size}\r\nconnection: close\r\n") + b"x" * size)
        assert answer.status == status
    pieces = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    for more, status in ((b"0\r\n\r\n", 400), (b"1\r\nx\r\n0\r\n\r\n", 413)):
        (answer,) = ask(tight.url, post("transfer-encoding: chunked\r\nconnection: close\r\n") + pieces * 2 + more)
        assert answer.status == status


def test_a_stranger_is_not_asked_for_a_body(tight: Gateway) -> None:
    """Who expects `100 Continue` gets the refusal instead; who has a key gets both."""
    expect = "expect: 100-continue\r\ncontent-length: 3\r\nconnection: close\r\n"
    (answer,) = ask(tight.url, post(expect, key="wrong"))
    assert (answer.status, answer.headers["connection"]) == (401, "close")
    with connect(tight.url) as connection:
        connection.sendall(post(expect))
        answers = Answers(connection)
        assert answers.next().status == 100
        connection.sendall(b"{}\n")
        assert answers.next().status == 400


# --- one after another -------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(tight: Gateway) -> None:
    """More than wait at a time, slow and quick ones, refusals and other paths among them."""
    slow, bad = chat_request("slow-300ms", stream=True), chat_request("nobody", stream=False)
    health = b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n"
    answers = ask(tight.url, b"".join([slow, bad, *([GOOD, health] * MOST_WAITING), slow, LAST]))
    statuses = [200, 404, *([200, 200] * MOST_WAITING), 200, 200]
    assert [answer.status for answer in answers] == statuses
    assert answers[0].body.endswith(answers[-2].body[-14:])
    assert answers[3].body == b'{"status":"ok"}'


def test_garbage_behind_a_request_does_not_touch_its_answer(tight: Gateway) -> None:
    """Neither a stream's pieces nor its end; the connection ends with it."""
    with connect(tight.url) as connection:
        connection.sendall(chat_request("slow-300ms", stream=True))
        time.sleep(0.1)
        connection.sendall(GARBAGE["words"])
        (answer,) = Answers(connection).rest()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_a_pipelined_body_has_its_time_once_it_is_asked_for(tight: Gateway) -> None:
    """Waiting for the answer before does not count; never coming does."""
    with connect(tight.url) as connection:
        connection.sendall(chat_request("answer-2+slow-1s", stream=False) + GOOD[:-20])
        answers = Answers(connection)
        assert answers.next().status == 200
        connection.sendall(GOOD[-20:] + GOOD[:-20])
        assert answers.next().status == 200
        began = time.monotonic()
        assert [answer.status for answer in answers.rest()] == [408]
    assert 0.4 < time.monotonic() - began < 2.5


@pytest.mark.parametrize("behind", [b"", GOOD, GOOD * 3])
def test_leaving_is_noticed_behind_pipelined_requests(tight: Gateway, upstream: Upstream, behind: bytes) -> None:
    """The request that runs is cancelled upstream; those behind it never begin."""
    with connect(tight.url) as connection:
        connection.sendall(chat_request("hangs", stream=False) + behind)
        upstream.wait(lambda stats: stats["running"] == 1)
        left = time.monotonic()
    upstream.wait(lambda stats: stats["running"] == 0)
    (seen,) = upstream.log()
    assert seen["gone"] - left < 0.1
    assert line(tight, seen["id"])["outcome"] == "client_closed"


REFUSED = {
    "stranger": (chat_request("echo", stream=False, key="wrong"), 401),
    "forbidden": (chat_request("slow-300ms", stream=False, key=LIMITED_KEY), 403),
    "unknown model": (chat_request("x", stream=False), 404),
    "bad JSON": (post("content-length: 3\r\n") + b"{x}", 400),
    "wrong method": (b"GET /v1/embeddings HTTP/1.1\r\n\r\n", 405),
    "no such path": (post("content-length: 2\r\n", path="/v2") + b"{}", 404),
    "upstream 4xx": (chat_request("fail-400", stream=False), 400),
    "upstream 5xx": (chat_request("fail-500", stream=True), 502),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_connection_outlives_a_refusal(tight: Gateway, case: str) -> None:
    """Whoever sent a whole request may send the next one behind its error."""
    request, status = REFUSED[case]
    with connect(tight.url) as connection:
        answers = Answers(connection)
        for _ in range(2):
            connection.sendall(request)
            refused = answers.next()
            assert (refused.status, "connection" in refused.headers) == (status, False)
            connection.sendall(GOOD)
            assert answers.next().status == 200


def test_http_1_0(tight: Gateway) -> None:
    """A whole answer and a stream, both ended by the connection's end, without chunks."""
    for stream in (False, True):
        old = chat_request("echo", stream=stream).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        answer = exchange(tight.url, old)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"transfer-encoding" not in answer
        assert answer.endswith(b"data: [DONE]\n\n" if stream else b"}")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models"])
def test_other_methods(tight: Gateway, method: str, path: str) -> None:
    """405 that names the right one; a HEAD is answered without a body."""
    head = f"{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"
    answer = exchange(tight.url, head.encode())
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert f"allow: {'POST' if 'chat' in path else 'GET'}\r\n".encode() in answer
    assert answer.endswith(b"\r\n\r\n") is (method == "HEAD")


@pytest.mark.parametrize("target", ["*", "nowhere:443", "http://elsewhere/v1/models", "/%00", "/%ff", "//", "/livez/x"])
def test_odd_targets_and_hosts(tight: Gateway, target: str) -> None:
    """Nothing is there: no redirect to elsewhere, no 500."""
    for host in ("test", "[", "a b", "\xe4"):
        head = f"POST {target} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        (answer,) = ask(tight.url, head.encode("latin-1"))
        assert (answer.status, code(answer)) in {(404, "not_found"), (400, "invalid_request")}


def test_nothing_is_upgraded(tight: Gateway) -> None:
    """Java's client offers h2c with every first request, body included; websockets are asked for without one."""
    offer = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAA\r\n"
    for stream in (False, True):
        (answer,) = ask(tight.url, chat_request("echo", stream=stream, head=offer))
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert "upgrade" not in answer.headers
    (answer,) = ask(tight.url, b"GET /livez HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
    assert answer.status == 200


# --- time --------------------------------------------------------------------------------------------------


def test_an_idle_connection_is_closed(tight: Gateway) -> None:
    """After `keep_alive`, not before; each request begins it anew, and an answer may take longer."""
    with connect(tight.url) as connection:
        answers = Answers(connection)
        for request, pause in ((GOOD, 0.5), (chat_request("answer-2+slow-1s", stream=False), 0.5), (GOOD, 0.0)):
            connection.sendall(request)
            assert answers.next().status == 200
            time.sleep(pause)
        idle = time.monotonic()
        assert answers.rest() == []
    assert 0.6 < time.monotonic() - idle < 3


async def flood(scope: Message, receive: Receive, send: Send) -> None:
    """As many bytes as the path says, in pieces of 64 KiB at most."""
    left = int(scope["path"][1:])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % left)]})
    while left > 0:
        await send({"type": "http.response.body", "body": bytes(min(left, 65_536)), "more_body": left > 65_536})
        left -= 65_536


def test_a_caller_that_never_reads(tight: Gateway) -> None:
    """Its connection is cut after `unread` seconds, and with it the request."""
    with Serving(flood, Bounds(unread=0.3)) as serving, connect(serving.url) as connection:
        connection.sendall(b"GET /200000000 HTTP/1.1\r\n\r\n")
        assert connection.recv(1)
        tight.until(lambda: not serving.state.tasks and not serving.state.connections, seconds=3)
        got = 0
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(MB):
                got += len(data)
        assert got < 100 * MB


def test_a_caller_that_never_reads_the_end(tight: Gateway) -> None:
    """An answer that fits into the buffer is complete for its application; its connection ends all the same."""
    with Serving(flood, Bounds(idle=0.4)) as serving, connect(serving.url) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sent = unread = 0

        def answered() -> bool:
            return serving.state.total_requests == sent

        while not unread:
            connection.sendall(b"GET /30000 HTTP/1.1\r\n\r\n")
            sent += 1
            tight.until(answered)
            unread = serving.connections[0].transport.get_write_buffer_size()
        tight.until(lambda: not serving.connections, seconds=5)


def test_reading_slowly_is_reading(tight: Gateway) -> None:
    """Whoever takes everything in the end is not cut, although the answer took longer than `unread`."""
    with Serving(flood, Bounds(unread=0.5)) as serving, connect(serving.url) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.sendall(b"GET /12000000 HTTP/1.1\r\n\r\n")
        got = len(read_until(connection, b"\r\n\r\n").partition(b"\r\n\r\n")[2])
        while got < 12_000_000:
            got += len(connection.recv(200_000))
            time.sleep(0.005)
        assert got == 12_000_000
