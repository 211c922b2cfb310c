"""`python -m tests.support.safety_services_server`: Azure AI Content Safety and OpenAI's moderation, for tests.

What is found stands in the text: `azure:Hate=4` a category and its severity, `attack`, `protected`, `ungrounded`,
`openai:hate=0.95` a category and its score, flagged from 0.5 on. `HANG` never answers, `CRASH` closes the connection,
`STATUS-429` answers so, `GARBAGE` is no JSON, `SHAPE` another shape. Requests that the services refuse are refused
(400, 401), and told by `GET /requests`. Its first line on stdout is its port.
"""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

Json = dict[str, Any]
KEY = "service-key"
HARMS = ("Hate", "SelfHarm", "Sexual", "Violence")
THEIRS = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip


class Refusal(Exception):
    """What a service would refuse."""


class Services(ThreadingHTTPServer):
    """What it was asked."""

    daemon_threads = True
    request_queue_size = 128  # a worker's questions come at once; a connection that does not fit waits for seconds

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[Json] = []


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Services
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # http.server's own name
        """Everything that came."""
        self._answer(200, orjson.dumps(self.server.requests))

    def do_POST(self) -> None:  # http.server's own name
        """A question."""
        body = orjson.loads(self.rfile.read(int(self.headers["content-length"] or 0)))
        parts = urlsplit(self.path)
        self.server.requests.append({"path": self.path, "body": body})
        said = orjson.dumps(body).decode()
        if "HANG" in said:
            time.sleep(60)
        if "CRASH" in said:
            self.connection.shutdown(socket.SHUT_RDWR)  # close() alone waits for the files that are made of it
            self.close_connection = True
            return
        told = re.search(r"STATUS-(\d+)", said)
        if told:
            self._answer(int(told[1]), b'{"error": {"code": "TooManyRequests"}}')
        elif "GARBAGE" in said:
            self._answer(200, b"<html>")
        elif "SHAPE" in said:
            self._answer(200, b'{"unexpected": []}')
        else:
            self._judge(parts.path, parse_qs(parts.query), body)

    def _judge(self, path: str, query: dict[str, list[str]], body: Json) -> None:
        try:
            if path == "/v1/moderations":
                self._credential("authorization", f"Bearer {KEY}")
                answer = moderations(body)
            else:
                self._credential("ocp-apim-subscription-key", KEY)
                answer = azure(path, query.get("api-version", [""])[0], body)
        except Refusal as refusal:
            self._answer(400, orjson.dumps({"error": {"code": "InvalidRequestBody", "message": str(refusal)}}))
        except PermissionError:
            self._answer(401, b'{"error": {"code": "401"}}')
        else:
            self._answer(200, orjson.dumps(answer))

    def _credential(self, name: str, value: str) -> None:
        if self.headers[name] != value:
            raise PermissionError(name)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:  # http.server's own name
        """Nothing."""


def only(body: Json, *names: str) -> None:
    """Refuse what a service does not know."""
    if unknown := set(body) - set(names):
        raise Refusal(f"unknown: {sorted(unknown)}")


def text_of(body: Json, least: int = 1, most: int = 10_000) -> str:
    """The text, if a service would take it."""
    text = body.get("text")
    if not isinstance(text, str) or not least <= len(text) <= most:
        raise Refusal(f"text of {least} to {most} characters")
    return text


def azure(path: str, version: str, body: Json) -> Json:
    """Azure's four operations."""
    operation = path.removeprefix("/contentsafety/")
    if version != ("2024-09-15-preview" if operation == "text:detectGroundedness" else "2024-09-01"):
        raise Refusal("api-version")
    if operation == "text:analyze":
        only(body, "text", "categories", "outputType", "blocklistNames", "haltOnBlocklistHit")
        text = text_of(body)
        found = dict.fromkeys(body.get("categories", HARMS), 0)
        found |= {name: int(level) for name, level in re.findall(r"azure:(\w+)=(\d)", text)}
        analysis = [{"category": name, "severity": level} for name, level in found.items()]
        return {"blocklistsMatch": [], "categoriesAnalysis": analysis}
    if operation == "text:shieldPrompt":
        only(body, "userPrompt", "documents")
        documents = body["documents"]
        if len(documents) > 5 or sum(map(len, documents)) > 10_000 or len(body["userPrompt"]) > 10_000:
            raise Refusal("too long")
        return {
            "userPromptAnalysis": {"attackDetected": "attack" in body["userPrompt"]},
            "documentsAnalysis": [{"attackDetected": "attack" in document} for document in documents],
        }
    if operation == "text:detectProtectedMaterial":
        only(body, "text")
        return {"protectedMaterialAnalysis": {"detected": "protected" in text_of(body, 110)}}
    if operation == "text:detectGroundedness":
        only(body, "domain", "task", "qna", "text", "groundingSources", "reasoning")
        if body["domain"] not in ("Generic", "Medical") or body["task"] not in ("QnA", "Summarization"):
            raise Refusal("domain or task")
        if (body["task"] == "QnA") != ("qna" in body) or not body["groundingSources"]:
            raise Refusal("qna or groundingSources")
        ungrounded = "ungrounded" in text_of(body, 1, 7_500)
        share = 1.0 if ungrounded else 0.0
        return {"ungroundedDetected": ungrounded, "ungroundedPercentage": share, "ungroundedDetails": []}
    raise Refusal("no such operation")


def moderations(body: Json) -> Json:
    """OpenAI's endpoint."""
    only(body, "model", "input")
    results = []
    for text in body["input"]:
        scores = dict.fromkeys(THEIRS, 0.01)
        scores |= {name: float(score) for name, score in re.findall(r"openai:([\w/-]+)=([\d.]+)", text)}
        flags = {name: score >= 0.5 for name, score in scores.items()}
        results.append({"flagged": any(flags.values()), "categories": flags, "category_scores": scores})
    return {"id": "modr-1", "model": "omni-moderation-latest", "results": results}


def main() -> None:
    """Serve until standard input ends."""
    server = Services()
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
