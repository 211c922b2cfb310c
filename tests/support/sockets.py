"""Bare sockets for tests that must see, or spoil, every byte."""

from __future__ import annotations

import socket
from contextlib import closing
from urllib.parse import urlsplit

import orjson

from tests.support.gateway import KEY


def connect(url: str) -> socket.socket:
    """A connection to the server of a URL, with a timeout of 20 s on every call."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 80), timeout=20)


def chat_request(model: str, *, stream: bool, key: str = KEY, text: str = "one two three", head: str = "") -> bytes:
    """A whole request; `head` is more header lines, each with its line end."""
    body = orjson.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]})
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
