"""`python -m tests.support.otlp_server`: a small OpenTelemetry receiver, OTLP over HTTP, for tests.

`POST /v1/traces` takes spans, `GET /spans` gives them all as JSON, `POST /mode/MODE` says how to answer from now on:
`ok`, `hang`, `partial-N` (takes all but N), or a status. Its first line on stdout is its port.
"""

from __future__ import annotations

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Json = dict[str, Any]


class Receiver(ThreadingHTTPServer):
    """What it was sent, and how it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.spans: list[Json] = []
        self.requests: list[Json] = []
        self.mode = "ok"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Receiver
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # http.server's own name
        """Everything that came."""
        self._answer(200, orjson.dumps({"spans": self.server.spans, "requests": self.server.requests}))

    def do_POST(self) -> None:  # http.server's own name
        """Spans, or another mode."""
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        server = self.server
        if self.path.startswith("/mode/"):
            server.mode = self.path.removeprefix("/mode/")
            self._answer(200, b"")
            return
        mode = server.mode
        server.requests.append({"path": self.path, "headers": dict(self.headers.items()), "mode": mode})
        if mode == "hang":
            time.sleep(60)
        if mode.isdecimal():
            self._answer(int(mode), b"")
            return
        server.spans += read(body)
        answer = ExportTraceServiceResponse()
        if mode.startswith("partial-"):
            answer.partial_success.rejected_spans = int(mode.removeprefix("partial-"))
        self._answer(200, answer.SerializeToString())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's own name
        """Nothing."""


def read(body: bytes) -> list[Json]:
    """The spans of an export request."""
    request = ExportTraceServiceRequest.FromString(body)
    return [
        span_of(span, one.schema_url) | {"resource": attributes(one.resource.attributes), "scope": scoped.scope.name}
        for one in request.resource_spans
        for scoped in one.scope_spans
        for span in scoped.spans
    ]


def span_of(span: Span, schema: str) -> Json:
    """One span as JSON."""
    return {
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "state": span.trace_state,
        "name": span.name,
        "kind": int(span.kind),
        "began": span.start_time_unix_nano,
        "ended": span.end_time_unix_nano,
        "attributes": attributes(span.attributes),
        "status": int(span.status.code),
        "message": span.status.message,
        "schema": schema,
    }


def attributes(pairs: Any) -> Json:
    """Attributes by name; a name that stands there twice is an error."""
    found: Json = {}
    for pair in pairs:
        assert isinstance(pair, KeyValue)
        assert pair.key not in found, pair.key
        found[pair.key] = value(pair.value)
    return found


def value(held: AnyValue) -> Any:
    """A value as Python knows it."""
    kind = held.WhichOneof("value")
    if kind == "array_value":
        return [value(one) for one in held.array_value.values]
    return getattr(held, kind) if kind else None


def main() -> None:
    """Serve until stdin ends."""
    server = Receiver()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
