"""A plain client for the fake upstream's own tests: what comes over the wire, nothing interpreted."""

from __future__ import annotations

import http.client
import json
import socket
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tests.support.upstream import Upstream

CHAT = "/v1/chat/completions"


@dataclass(slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def doc(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass(slots=True)
class Stream:
    """A stream, read to its end: `events` are the data lines, `at` when each came (seconds after the request)."""

    status: int
    headers: dict[str, str]
    events: list[str] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)
    broken: Exception | None = None

    @property
    def docs(self) -> list[Any]:
        """The events that are JSON objects."""
        return [json.loads(event) for event in self.events if event != "[DONE]"]

    @property
    def text(self) -> str:
        """The content of the first choice."""
        return "".join(
            choice["delta"].get("content") or ""
            for doc in self.docs
            for choice in doc.get("choices", [])
            if choice["index"] == 0
        )


def body(model: str, content: str = "hello there", **fields: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": model, "messages": [{"role": "user", "content": content}], **fields}


class Client:
    """One connection to an upstream."""

    def __init__(self, upstream: Upstream, *, timeout: float = 10) -> None:
        self._connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave."""
        self._connection.close()

    def request(self, method: str, path: str, doc: Any = None, **headers: str) -> Reply:
        """Send anything; header names are written with underscores."""
        response = self._send(method, path, doc, headers)
        return Reply(response.status, _lower(response), response.read())

    def chat(self, model: str, content: str = "hello there", **fields: Any) -> Reply:
        """A chat completion, not streamed."""
        return self.request("POST", CHAT, body(model, content, **fields))

    def stream(self, model: str, content: str = "hello there", *, path: str = CHAT, **fields: Any) -> Stream:
        """A chat completion, streamed, read to its end, whatever end that is."""
        return self.read(self.open(body(model, content, stream=True, **fields), path), time.monotonic())

    def open(self, doc: Any, path: str = CHAT, **headers: str) -> http.client.HTTPResponse:
        """Send a request and read the head of the answer."""
        return self._send("POST", path, doc, headers)

    def read(self, response: http.client.HTTPResponse, start: float) -> Stream:
        """Read events until the stream ends or breaks."""
        found = Stream(response.status, _lower(response))
        try:
            while line := response.readline():
                found.raw += line
                if line.startswith(b"data:"):
                    found.events.append(line[5:].strip().decode())
                    found.at.append(time.monotonic() - start)
        except (OSError, http.client.HTTPException) as problem:
            found.broken = problem
        response.close()
        return found

    def _send(self, method: str, path: str, doc: Any, headers: dict[str, str]) -> http.client.HTTPResponse:
        raw = doc if isinstance(doc, bytes) or doc is None else json.dumps(doc).encode()
        sent = {"content-type": "application/json"} if raw is not None else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, raw, sent)
        return self._connection.getresponse()


def _lower(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def raw(upstream: Upstream, data: bytes, *, seconds: float = 5) -> bytes:
    """Send bytes, read until the other side closes (or goes silent for `seconds`)."""
    found = b""
    with socket.create_connection((upstream.host, upstream.port), timeout=seconds) as connection:
        connection.sendall(data)
        while part := connection.recv(65536):
            found += part
    return found
