"""Take the captures in tests/fixtures/vllm anew from real servers: one JSON file per exchange, and the metrics' names.

    .venv/bin/python -m scripts.vllm.capture

Needs the models of `scripts/vllm/setup.sh --tiny --embed`; starts four servers one after the other (some minutes).
The format is in the README beside the captures; what is asked is in capture_cases.py.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts.vllm.capture_cases import Case, embed_cases, generate_cases, locked_cases, long_stream
from scripts.vllm.server import ROOT, TOOLS, Server, engine_pid, vllm

TARGET = ROOT / "tests" / "fixtures" / "vllm"
JsonObject = dict[str, Any]


def headers_of(case: Case) -> dict[str, str]:
    """What is sent beside what http.client adds."""
    return ({"content-type": "application/json"} if case.method == "POST" else {}) | dict(case.headers)


def ignore(_: int) -> None:
    """Nobody waits for chunks."""


def exchange(server: Server, case: Case, on_chunk: Callable[[int], None] = ignore) -> JsonObject:
    """Send one request and return it with everything that came back; `on_chunk` hears of each chunk of a stream."""
    connection = http.client.HTTPConnection(server.base.removeprefix("http://"), timeout=120)
    body = case.body if isinstance(case.body, str) else None if case.body is None else json.dumps(case.body)
    with contextlib.closing(connection):
        connection.request(case.method, case.path, body, headers_of(case))
        response = connection.getresponse()
        answer: JsonObject = {"status": response.status, "headers": response.getheaders()}
        if response.getheader("transfer-encoding") == "chunked":
            answer["chunks"] = list(chunks(response, on_chunk))
        else:
            answer["body"] = response.read().decode()
    asked = {"method": case.method, "path": case.path, "headers": headers_of(case), "body": case.body}
    return {"request": asked, "response": answer}


def chunks(response: http.client.HTTPResponse, on_chunk: Callable[[int], None]) -> Iterator[tuple[float, str]]:
    """Each HTTP chunk of a stream, with the seconds since the head came."""
    began, count = time.monotonic(), 0
    while data := response.read1(1 << 20):
        count += 1
        yield round(time.monotonic() - began, 4), data.decode()
        on_chunk(count)


def save(name: str, document: JsonObject) -> None:
    """Write one capture."""
    path = TARGET / f"{name}.json"
    text = json.dumps(document, ensure_ascii=False, indent=1).replace(f"{ROOT}/", "")  # /v1/models names the folder
    path.write_text(text + "\n")
    print(f"{path.relative_to(ROOT)}: {document['response']['status']}", flush=True)


def save_all(server: Server, cases: list[Case]) -> None:
    """Take the captures of one server, one request at a time."""
    for case in cases:
        save(case.name, exchange(server, case))


def save_metrics(server: Server, name: str) -> None:
    """Write the names, types and labels of vLLM's own metrics; figures would only be noise."""
    text = exchange(server, Case("metrics", "GET", "/metrics"))["response"]["body"]
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    labels: dict[str, set[str]] = {}
    for sample, inside in re.findall(r"^([\w:]+)(?:\{(.*)\})? ", text, re.MULTILINE):
        family = sample if sample in kinds else re.sub(r"_(bucket|sum|count)$", "", sample)
        labels.setdefault(family, set()).update(re.findall(r'(\w+)="', inside))
    rows = [f"{n}\t{kinds[n]}\t{','.join(sorted(labels.get(n, ())))}" for n in sorted(kinds) if n.startswith("vllm:")]
    (TARGET / f"metrics-{name}.tsv").write_text("\n".join(["name\ttype\tlabels", *rows]) + "\n")


def overload(server: Server) -> None:
    """Eight requests at once against a queue of one: streams refuse inside a 200, the others with a 503."""
    found: list[tuple[Case, JsonObject]] = []

    def ask(*, stream: bool) -> None:
        case = long_stream("overload", stream=stream)
        found.append((case, exchange(server, case)))

    for stream in (True, False):
        threads = [threading.Thread(target=ask, kwargs={"stream": stream}) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for kind, wanted in (("stream", True), ("json", False)):
        save(
            f"overload-{kind}", next(taken for case, taken in found if case.body["stream"] is wanted and refused(taken))
        )


def refused(document: JsonObject) -> bool:
    """Whether an answer is vLLM's 503, as a status or inside a stream."""
    answer = document["response"]
    return answer["status"] == 503 or any('"code": 503' in text for _, text in answer.get("chunks", ()))


def killed_engine(server: Server) -> None:
    """The engine dies by SIGKILL after 20 chunks of a stream; then what health and chat answer."""
    engine = engine_pid(server)

    def kill(count: int) -> None:
        if count == 20:
            os.kill(engine, signal.SIGKILL)

    save("engine-killed-stream", exchange(server, long_stream("engine-killed-stream"), kill))
    for case in (Case("engine-killed-health", "GET", "/health"), long_stream("engine-killed-chat", stream=False)):
        with contextlib.suppress(OSError):  # the server ends itself soon after
            save(case.name, exchange(server, case))


def main() -> None:
    """The command."""
    for old in (*TARGET.glob("*.json"), *TARGET.glob("*.tsv")):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with vllm("smollm2", log, *TOOLS).wait() as server:
            save_all(server, generate_cases())
            save_metrics(server, "generate")
        with vllm("minilm", log, MODEL="all-minilm-l6-v2", RUNNER="pooling").wait() as server:
            save_all(server, embed_cases())
            save_metrics(server, "pooling")
        with vllm("tiny", log, "--api-key", "sesame", MODEL="tiny").wait() as server:
            save_all(server, locked_cases())
        with vllm("tiny", log, "--max-num-queued-reqs", "1", MODEL="tiny", MAX_SEQS="1").wait() as server:
            overload(server)
            killed_engine(server)


if __name__ == "__main__":
    main()
