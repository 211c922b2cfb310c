"""One request and its answer as ASGI, over real sockets: what applications ask for and what leaves on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from app.api.cycle import BODY_FAULT, OUTLET
from app.api.server import Bounds, Protocol
from tests.support.serving import Message, Receive, Send, Serving
from tests.support.sockets import Answers, ask, connect, exchange, read_until

START = {"type": "http.response.start", "status": 200, "headers": []}


class Applications:
    """A small application per path. `seen` is what they learned, in order."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.go = threading.Event()
        self.serving: Serving | None = None
        self.then: Callable[[Protocol], None] = lambda _: None
        """What happens to the connection as soon as `behind` has answered."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Find the application by its path."""
        await getattr(self, scope["path"].strip("/"))(scope, receive, send)

    async def sized(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer with a length, without asking for the body."""
        await send({**START, "headers": [(b"content-length", b"5"), (b"x-one", b"1"), (b"connection", b"keep-alive")]})
        await send({"type": "http.response.body", "body": b"hello"})

    async def chunked(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer without a length, in pieces, an empty one among them."""
        await send(START)
        for piece in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    async def relayed(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer in pieces, some of them past `send`."""
        cycle = scope[OUTLET]
        await send(START)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        self.seen.append(cycle.full)
        cycle.relay(b"two")
        cycle.relay(b"three")
        await send({"type": "http.response.body"})

    async def begun(self, scope: Message, receive: Receive, send: Send) -> None:
        """The same, head and end included."""
        cycle = scope[OUTLET]
        cycle.begin(b"x-one: 1\r\n")
        cycle.write(b"one")
        cycle.relay(b"two")
        cycle.write(b"", last=True)

    async def answered(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer whole, past `send`."""
        scope[OUTLET].answer(b"x-one: 1\r\n", b"hello")
        self.seen.append((await receive())["type"])

    async def behind(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer behind another write of this turn."""
        assert self.serving is not None
        (connection,) = self.serving.connections
        self.serving.outbox.write(connection.transport, b"")
        scope[OUTLET].answer(b"x-one: 1\r\n", b"hello")
        self.then(connection)

    async def poured(self, scope: Message, receive: Receive, send: Send) -> None:
        """Write past `send` until the socket is full, then wait there."""
        cycle = scope[OUTLET]
        await send(START)
        await send({"type": "http.response.body", "body": b".", "more_body": True})
        while not cycle.full:
            cycle.relay(b"x" * 100_000)
        self.seen.append("full")
        await send({"type": "http.response.body", "body": b".", "more_body": True})
        self.seen.append("room")
        await send({"type": "http.response.body"})
        cycle.disconnected = True
        cycle.relay(b"to nobody")

    async def closing(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, and end the connection."""
        await send({**START, "headers": [(b"content-length", b"2"), (b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def empty(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer 204, although with a body."""
        await send({**START, "status": 204})
        await send({"type": "http.response.body", "body": b""})

    async def echo(self, scope: Message, receive: Receive, send: Send) -> None:
        """Read the whole body, and send it back."""
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.seen.append(scope.get(BODY_FAULT, "left"))
                self.seen.append(await receive())
                return
            body += message["body"]
            more = message["more_body"]
        await send({**START, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})
        self.seen.append((await receive())["type"])

    async def listen(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer slowly, and listen for the caller's leaving meanwhile, as Starlette's streams do."""
        assert (await receive())["type"] == "http.request"
        listening = asyncio.ensure_future(receive())
        await send(START)
        for _ in range(3):
            await asyncio.sleep(0.02)
            await send({"type": "http.response.body", "body": b".", "more_body": True})
        assert not listening.done()
        await send({"type": "http.response.body", "body": b""})
        self.seen.append((await listening)["type"])

    async def hang(self, scope: Message, receive: Receive, send: Send) -> None:
        """Read the body, then do nothing until the caller has gone."""
        while (await receive()).get("more_body"):
            pass
        self.go.set()
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            self.seen.append(time.monotonic())
            raise

    async def raises(self, scope: Message, receive: Receive, send: Send) -> None:
        """Fail before an answer."""
        raise RuntimeError("on purpose")

    async def silent(self, scope: Message, receive: Receive, send: Send) -> None:
        """Forget to answer."""

    async def task(self, scope: Message, receive: Receive, send: Send) -> None:
        """Note whose task this is, and stay in it for a while after the answer."""
        self.seen.append(weakref.ref(cast("asyncio.Task[None]", asyncio.current_task())))
        await self.sized(scope, receive, send)
        await asyncio.sleep(0.2)
        self.seen.append("done")

    async def half(self, scope: Message, receive: Receive, send: Send) -> None:
        """Fail inside an answer."""
        await send(START)
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("on purpose")

    async def flood(self, scope: Message, receive: Receive, send: Send) -> None:
        """Send without end, and count what was taken."""
        await send(START)
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            self.seen.append(65536)

    async def lazy(self, scope: Message, receive: Receive, send: Send) -> None:
        """Ask for the body only when told to."""
        await asyncio.to_thread(self.go.wait, 10)
        await self.echo(scope, receive, send)


@pytest.fixture
def apps() -> Applications:
    """The applications."""
    return Applications()


@pytest.fixture
def serving(apps: Applications) -> Iterator[Serving]:
    """The applications, served; no task and no connection may be left."""
    with Serving(apps) as running:
        running.state.default_headers = [(b"date", b"today")]
        apps.serving = running
        yield running
        wait(lambda: not running.state.tasks)
        for connection in running.connections:
            assert connection.cycle is None or connection.cycle.response_complete


def wait(condition: Any) -> None:
    """Wait until it holds, five seconds at most."""
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def head(path: str, *, method: str = "GET", version: str = "1.1", lines: str = "") -> bytes:
    """The head of a request."""
    return f"{method} /{path} HTTP/{version}\r\nhost: test\r\n{lines}\r\n".encode()


def test_a_sized_answer_is_exactly_this(serving: Serving) -> None:
    """The server's headers first, then the application's; no chunks."""
    with connect(serving.url) as connection:
        connection.sendall(head("sized"))
        answer = read_until(connection, b"hello")
    lines = b"date: today\r\ncontent-length: 5\r\nx-one: 1\r\nconnection: keep-alive\r\n"
    assert answer == b"HTTP/1.1 200 OK\r\n" + lines + b"\r\nhello"


def test_an_answer_that_waits_for_the_end_of_the_turn_leaves_before_what_follows_it(serving: Serving) -> None:
    """The next of pipelined requests, whose answer does not wait."""
    with connect(serving.url) as connection:
        connection.sendall(head("behind") + head("sized", lines="x: 1\r\n"))
        answers = Answers(connection)
        assert [answers.next().headers["x-one"] for _ in range(2)] == ["1", "1"]
        connection.sendall(head("behind") * 3)
        assert [answers.next().body for _ in range(3)] == [b"hello"] * 3


@pytest.mark.parametrize(
    ("then", "statuses"),
    [
        (lambda connection: connection.data_received(b"nonsense\r\n\r\n"), [200, 400]),
        (lambda connection: connection.shutdown(), [200]),
    ],
    ids=["no HTTP", "the server stops"],
)
def test_an_answer_that_waits_leaves_before_its_connection_ends(
    serving: Serving, apps: Applications, then: Callable[[Protocol], None], statuses: list[int]
) -> None:
    """For whatever reason."""
    apps.then = then
    with connect(serving.url) as connection:
        connection.sendall(head("behind"))
        answers = Answers(connection).rest()
    assert [answer.status for answer in answers] == statuses
    assert answers[0].body == b"hello"


def test_an_answer_without_a_length_is_chunked(serving: Serving) -> None:
    """Empty pieces are no chunk: that would end the answer."""
    with connect(serving.url) as connection:
        connection.sendall(head("chunked"))
        answer = read_until(connection, b"0\r\n\r\n")
    assert answer.endswith(b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


@pytest.mark.parametrize("lines", ["", "connection: keep-alive\r\n"])
@pytest.mark.parametrize(("path", "body"), [("sized", b"hello"), ("chunked", b"onetwo")])
def test_http_1_0_knows_no_chunks(serving: Serving, path: str, body: bytes, lines: str) -> None:
    """The end of the connection is the end of the answer, also where it was asked to be kept."""
    answer = exchange(serving.url, head(path, version="1.0", lines=lines))
    assert b"transfer-encoding" not in answer
    assert b"connection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\n" + body)


def test_pieces_may_go_past_send(serving: Serving, apps: Applications) -> None:
    """They leave in their order, framed like the others."""
    with connect(serving.url) as connection:
        connection.sendall(head("relayed"))
        answer = read_until(connection, b"\r\n0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n")
    assert apps.seen == [False]
    assert exchange(serving.url, head("relayed", version="1.0")).endswith(b"\r\n\r\nonetwothree")


@pytest.mark.parametrize(
    ("version", "lines", "framing", "body"),
    [
        ("1.1", "", b"transfer-encoding: chunked\r\n", b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
        (
            "1.1",
            "content-length: 3\r\n",
            b"transfer-encoding: chunked\r\nconnection: close\r\n",
            b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
        ),
        ("1.0", "", b"connection: close\r\n", b"onetwo"),
    ],
)
def test_a_whole_stream_may_go_past_send(
    serving: Serving, version: str, lines: str, framing: bytes, body: bytes
) -> None:
    """Framed as through `send`; on a connection that is kept another answer follows."""
    with connect(serving.url) as connection:
        for _ in range(1 if b"close" in framing else 2):
            connection.sendall(head("begun", method="POST", version=version, lines=lines))
            whole = b"HTTP/1.1 200 OK\r\ndate: today\r\nx-one: 1\r\n%b\r\n%b" % (framing, body)
            assert read_until(connection, body) == whole


def test_a_whole_answer_may_go_past_send(serving: Serving, apps: Applications) -> None:
    """The same bytes as through `send`, on a connection that is kept; the last one when the body was not read."""
    whole = b"HTTP/1.1 200 OK\r\ndate: today\r\nx-one: 1\r\n%bcontent-length: 5\r\n\r\nhello"
    with connect(serving.url) as connection:
        for _ in range(2):
            connection.sendall(head("answered"))
            assert read_until(connection, b"hello") == whole % b""
    assert apps.seen == ["http.disconnect"] * 2
    unread = head("answered", method="POST", lines="content-length: 3\r\n")
    assert exchange(serving.url, unread) == whole % b"connection: close\r\n"


def test_one_task_serves_a_connection(serving: Serving, apps: Applications) -> None:
    """Its requests one after another, each after all that the one before does; when the caller leaves, it ends."""
    with connect(serving.url) as connection:
        answers = Answers(connection)
        connection.sendall(head("task"))
        answers.next()
        connection.sendall(head("task"))
        answers.next()
        connection.sendall(head("task") + head("task"))
        answers.next(), answers.next()
        wait(lambda: len(apps.seen) == 8)
        wait(lambda: not serving.state.tasks)
        assert apps.seen[1::2] == ["done"] * 4
        (task,) = set(apps.seen[::2])
        assert task() is not None
    wait(lambda: task() is None)


def test_a_request_that_waits_for_its_task_is_not_begun_when_its_caller_leaves(
    serving: Serving, apps: Applications
) -> None:
    """The one before it comes to its end."""
    with connect(serving.url) as connection:
        connection.sendall(head("task"))
        Answers(connection).next()
        connection.sendall(head("task"))
    wait(lambda: not serving.connections)
    wait(lambda: not serving.state.tasks)
    assert apps.seen[1:] == ["done"]


def test_a_full_socket_is_told(serving: Serving, apps: Applications) -> None:
    """Whoever writes past `send` sees when to stop; `send` waits, and goes on when the caller reads."""
    with connect(serving.url) as connection:
        connection.sendall(head("poured"))
        wait(lambda: apps.seen == ["full"])
        answer = read_until(connection, b"\r\n0\r\n\r\n")
    assert apps.seen == ["full", "room"]
    assert answer.count(b"x" * 100_000) == answer.count(b"186a0\r\n") > 0
    assert b"nobody" not in answer


@pytest.mark.parametrize("path", ["sized", "chunked"])
def test_head_is_answered_without_a_body(serving: Serving, path: str) -> None:
    """The next answer on the connection follows at once."""
    with connect(serving.url) as connection:
        connection.sendall(head(path, method="HEAD") + head("sized"))
        answers = read_until(connection, b"hello")
    first, _, second = answers.partition(b"\r\n\r\n")
    assert second.startswith(b"HTTP/1.1 200 OK")
    assert (b"content-length: 5" in first) is (path == "sized")


def test_no_content_has_neither_body_nor_length(serving: Serving) -> None:
    """A chunk there would be taken for the next answer."""
    with connect(serving.url) as connection:
        connection.sendall(head("empty") + head("sized"))
        answers = Answers(connection)
        assert (answers.next().status, answers.next().body) == (204, b"hello")


def test_an_application_may_end_the_connection(serving: Serving) -> None:
    """It says so once, and what the caller has sent behind is not answered."""
    answer = exchange(serving.url, head("closing") + head("sized"))
    assert answer.count(b"connection: close") == answer.count(b"HTTP/1.1") == 1


def test_expectations_are_met_when_the_body_is_wanted(serving: Serving) -> None:
    """`100 Continue` once, then the answer; on the next request again."""
    with connect(serving.url) as connection:
        answers = Answers(connection)
        for body in (b"abc", b"defg"):
            lines = f"expect: 100-Continue\r\ncontent-length: {len(body)}\r\n"
            connection.sendall(head("echo", method="POST", lines=lines))
            assert answers.next().status == 100
            connection.sendall(body)
            assert answers.next().body == body


def test_expectations_are_not_met_when_the_answer_is_known(serving: Serving) -> None:
    """The final status comes alone, and the connection is not used again."""
    lines = "expect: 100-continue\r\ncontent-length: 3\r\n"
    (answer,) = ask(serving.url, head("sized", method="POST", lines=lines))
    assert (answer.status, answer.headers["connection"]) == (200, "close")


def test_an_answer_before_the_body_is_the_last(serving: Serving) -> None:
    """What follows the body unread would be swallowed, so the caller is told not to send it here."""
    with connect(serving.url) as connection:
        connection.sendall(head("sized", method="POST", lines="content-length: 3\r\n"))
        answers = Answers(connection)
        assert answers.next().headers["connection"] == "close"
        connection.sendall(b"abc" + head("chunked"))
        assert not answers.rest()


def test_after_the_answer_there_is_nothing_to_receive(serving: Serving, apps: Applications) -> None:
    """`receive` says so, and does not wait."""
    with connect(serving.url) as connection:
        connection.sendall(head("echo", method="POST", lines="content-length: 2\r\n") + b"hi")
        assert Answers(connection).next().body == b"hi"
        wait(lambda: apps.seen)
    assert apps.seen == ["http.disconnect"]


def test_a_waiting_receive_ends_with_the_answer(serving: Serving, apps: Applications) -> None:
    """As Starlette's streams need it; not before."""
    with connect(serving.url) as connection:
        connection.sendall(head("listen"))
        assert Answers(connection).next().body == b"..."
        wait(lambda: apps.seen)
    assert apps.seen == ["http.disconnect"]


@pytest.mark.parametrize("piece", [b"", b"abc"])
def test_a_caller_who_leaves_inside_the_body_is_noticed(serving: Serving, apps: Applications, piece: bytes) -> None:
    """The request's task is cancelled where it waits."""
    with connect(serving.url) as connection:
        connection.sendall(head("echo", method="POST", lines="content-length: 9\r\n") + piece)
        wait(lambda: serving.state.tasks)
    wait(lambda: not serving.state.tasks)
    assert apps.seen in ([], ["left", {"type": "http.disconnect"}])


def test_an_overdue_body_is_a_fault_for_good(apps: Applications) -> None:
    """Asking again brings the same at once: nobody waits for ever, nobody spins."""
    with Serving(apps, Bounds(body=0.1)) as serving, connect(serving.url) as connection:
        connection.sendall(head("echo", method="POST", lines="content-length: 9\r\n") + b"abc")
        assert connection.recv(100) == b""
    fault, again = apps.seen
    assert (fault.status, again) == (408, {"type": "http.disconnect"})


@pytest.mark.parametrize("path", ["raises", "silent"])
def test_no_answer_ends_the_connection(serving: Serving, caplog: pytest.LogCaptureFixture, path: str) -> None:
    """Without a byte; a failure is logged."""
    assert exchange(serving.url, head(path) + head("sized")) == b""
    assert ("failed" in caplog.text) is (path == "raises")


def test_half_an_answer_is_not_completed(serving: Serving) -> None:
    """The last chunk never comes, so that the caller can tell."""
    answer = exchange(serving.url, head("half") + head("sized"))
    assert answer.endswith(b"4\r\nhalf\r\n")


def test_a_caller_who_does_not_read_holds_the_application(serving: Serving, apps: Applications) -> None:
    """What is taken is what sockets and one buffer hold; it goes on once the caller reads."""
    with connect(serving.url) as connection:
        connection.sendall(head("flood"))
        time.sleep(0.3)
        held = sum(apps.seen)
        time.sleep(0.1)
        assert sum(apps.seen) == held < 32 * 2**20
        wait(lambda: connection.recv(65536) and sum(apps.seen) > held)


def test_an_application_that_does_not_read_holds_the_caller(serving: Serving, apps: Applications) -> None:
    """A large body waits in the sockets, not in memory, and arrives whole in the end."""
    size = 16 * 2**20
    with connect(serving.url) as connection:
        connection.sendall(head("lazy", method="POST", lines=f"content-length: {size}\r\n"))
        connection.settimeout(0.15)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < size:
                sent += connection.send(bytes(size - sent))
        (protocol,) = serving.connections
        assert protocol.cycle is not None
        assert len(protocol.cycle.body) < 2**20
        assert sent < size
        connection.settimeout(20)
        apps.go.set()
        answers = Answers(connection)
        reader = threading.Thread(target=lambda: apps.seen.append(len(answers.next().body)))
        reader.start()
        connection.sendall(bytes(size - sent))
        reader.join(20)
    assert size in apps.seen


@pytest.mark.parametrize("size", [10, 70_000, 100_000, 2_000_000])
def test_leaving_is_noticed_behind_a_body_of_any_size(serving: Serving, apps: Applications, size: int) -> None:
    """A body that filled the buffer stopped the reading; once it is taken, reading goes on."""
    with connect(serving.url) as connection:
        connection.sendall(head("hang", method="POST", lines=f"content-length: {size}\r\n") + bytes(size))
        assert apps.go.wait(5)
        left = time.monotonic()
    wait(lambda: apps.seen)
    assert apps.seen[0] - left < 0.1
