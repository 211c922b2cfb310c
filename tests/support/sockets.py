"""Bare sockets for tests that must see, or spoil, every byte."""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from contextlib import closing
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httptools
import orjson

from tests.support.gateway import KEY


def connect(url: str) -> socket.socket:
    """A connection to the server of a URL, with a timeout of 20 s on every call."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 80), timeout=20)


def chat_request(
    model: str, *, stream: bool, key: str = KEY, text: str = "one two three", head: str = "", **fields: Any
) -> bytes:
    """A whole request; `head` is more header lines, each with its line end, `fields` more of the body."""
    body = orjson.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": text}], **fields})
    lines = f"host: test\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n{head}"
    return f"POST /v1/chat/completions HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """What comes up to and with `end`. Raises AssertionError when the connection ends before."""
    data = b""
    while end not in data:
        piece = connection.recv(65536)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    return data


def read_all(connection: socket.socket) -> bytes:
    """What comes until the connection ends."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


def exchange(url: str, request: bytes) -> bytes:
    """Send bytes and read until the other side closes."""
    with closing(connect(url)) as connection:
        connection.sendall(request)
        return read_all(connection)


class Answer(NamedTuple):
    """One response; names of headers in lower case, each with its last value."""

    status: int
    headers: dict[str, str]
    body: bytes


class Answers:
    """Reads the responses that come on a connection, one by one. Those to HEAD requests are not for it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._parser = httptools.HttpResponseParser(self)
        self._complete: deque[Answer] = deque()

    def next(self) -> Answer:
        """The next response, interim ones included. Raises AssertionError when the connection ends before."""
        while not self._complete:
            data = self._connection.recv(65536)
            assert data, f"the connection ended inside an answer: {bytes(self._body)!r}"
            self._parser.feed_data(data)
        return self._complete.popleft()

    def rest(self) -> list[Answer]:
        """Every complete response until the connection ends, by whatever means."""
        with contextlib.suppress(ConnectionError):
            while data := self._connection.recv(65536):
                self._parser.feed_data(data)
        found = list(self._complete)
        self._complete.clear()
        return found

    def on_message_begin(self) -> None:
        """A response begins."""
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """It is complete."""
        self._complete.append(Answer(self._parser.get_status_code(), self._headers, bytes(self._body)))


def ask(url: str, request: bytes) -> list[Answer]:
    """Send bytes on a connection of their own; every response until the other side closes."""
    with closing(connect(url)) as connection:
        connection.sendall(request)
        return Answers(connection).rest()
