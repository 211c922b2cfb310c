"""Runs the gateway as its users do: `sluicegate serve --config FILE`, a process of its own on free ports."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import openai
import orjson
from prometheus_client.parser import text_string_to_metric_families

from tests.support.postgres import Postgres

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-test-caller"
LIMITED_KEY = "sk-test-limited"
ADMIN_KEY = "sk-test-admin"
VIEWER_KEY = "sk-test-viewer"
PRICE = {"input": 0.5, "output": 1.5}
PLAIN: dict[str, Any] = {"trust_env": False, "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}
"""For httpx2 and http: one context for all, for a client that makes its own reads certificates for 50 ms."""
_READY_S = 60
_STOP_S = 30

Json = dict[str, Any]


def deployment(name: str, url: str | list[str], model: str, **settings: Any) -> Json:
    """A deployment before the fake upstream at `url` (without `/v1`; a list for replicas)."""
    where = {"base_url": f"{url}/v1"} if isinstance(url, str) else {"endpoints": [f"{one}/v1" for one in url]}
    given = {"provider": "openai", "context_window": 8192, "max_output_tokens": 512, "price": PRICE}
    given |= {"health": None, "metrics": None}
    return {"name": name, "model": model, **where, **given, **settings}


def config(deployments: Iterable[Json], models: Iterable[Json], **sections: Any) -> Json:
    """A configuration with two callers' keys (one may use only `echo`), an admin's and a viewer's."""
    keys = [
        {"name": "main", "secret": "env:TEST_KEY"},
        {"name": "limited", "secret": "env:TEST_LIMITED_KEY", "models": ["echo"]},
    ]
    admins = [
        {"name": "ops", "secret": "env:TEST_ADMIN_KEY", "role": "admin"},
        {"name": "eyes", "secret": "env:TEST_VIEWER_KEY", "role": "viewer"},
    ]
    server = {"host": "127.0.0.1", "port": 0, "ops": {"host": "127.0.0.1", "port": 0}, **sections.pop("server", {})}
    return {
        "server": {name: value for name, value in server.items() if value is not None},
        "deployments": list(deployments),
        "models": list(models),
        "tenants": [{"name": "team", "keys": keys}],
        "admin": {"keys": admins},
        **sections,
    }


def one_each(url: str, behaviours: Iterable[str], **settings: Any) -> Json:
    """A configuration with one model per behaviour of the fake upstream, named as the behaviour is."""
    names = ["echo", *(name for name in behaviours if name != "echo")]
    sections = settings.pop("sections", {})
    deployments = [deployment(f"to-{name}", url, name, **settings) for name in names]
    return config(deployments, [{"name": name, "stable": f"to-{name}"} for name in names], **sections)


def _complete(file: Path) -> list[bytes]:
    """The lines of a file, without the one that is being written."""
    return file.read_bytes().split(b"\n")[:-1]


class Gateway:
    """One gateway. A context manager; leaving it stops the process and fails if it had to be killed."""

    def __init__(self, document: Mapping[str, Any], *, arguments: Iterable[str] = ()) -> None:
        self._leaving = ExitStack()
        folder = Path(self._leaving.enter_context(tempfile.TemporaryDirectory(prefix="sluicegate-test-")))
        self.config_file = folder / "config.yaml"
        self.access_log = folder / "access.log"
        self.messages = folder / "messages.log"
        self._arguments = list(arguments)
        self._postgres: Postgres | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.url = self.ops_url = ""
        self.environ: dict[str, str] = {}
        with ExitStack() as failed:
            failed.push(self._leaving)
            self.write(document)
            failed.pop_all()

    # --- life --------------------------------------------------------------------------------------------

    def write(self, document: Mapping[str, Any]) -> None:
        """Replace the configuration file, as one change."""
        own = {"database": self._database(document), "spool": f"{self.config_file.parent}/spool"}
        document = {**document, "stores": {**own, **document.get("stores", {})}}
        fresh = self.config_file.with_suffix(".new")
        fresh.write_bytes(orjson.dumps(dict(document), option=orjson.OPT_INDENT_2))  # JSON is YAML
        fresh.rename(self.config_file)

    def _database(self, document: Mapping[str, Any]) -> str:
        """A file, or a server of its own where several workers share it."""
        several = document.get("server", {}).get("workers", 1) > 1 or "--workers" in self._arguments
        if not several or "database" in document.get("stores", {}):
            return f"sqlite+aiosqlite:///{self.config_file.parent}/ledger.db"
        if self._postgres is None:
            self._postgres = self._leaving.enter_context(Postgres())
        return self._postgres.url

    def start(self) -> Self:
        """Start the process; returns when it listens."""
        keys = {
            "TEST_KEY": KEY,
            "TEST_LIMITED_KEY": LIMITED_KEY,
            "TEST_ADMIN_KEY": ADMIN_KEY,
            "TEST_VIEWER_KEY": VIEWER_KEY,
        }
        command = [
            sys.executable,
            "-m",
            "app.cli",
            "serve",
            "--config",
            str(self.config_file),
            "--with-parent",
            *self._arguments,
        ]
        with self.access_log.open("ab") as out, self.messages.open("ab") as err:
            environ = {**os.environ, **keys, **self.environ}
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=out, stderr=err
            )
        self._wait(lambda: bool(self.said("listening")), _READY_S, "the gateway does not listen")
        where = self.said("listening")[0]
        self.url, self.ops_url = where["url"], where.get("ops_url") or where["url"]
        return self

    def stop(self) -> None:
        """Ask it to stop, and wait. Raises AssertionError when it does not."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the gateway did not stop: {self.messages.read_text()}") from None
        finally:
            if process.stdin is not None:
                process.stdin.close()

    def kill(self) -> None:
        """Kill -9; `start` begins a new life in the same folder."""
        process, self._process = self._process, None
        assert process
        assert process.stdin
        process.kill()
        process.wait()
        process.stdin.close()
        self.messages.unlink()

    def crash(self) -> None:
        """Kill -9, and a new life in the same folder."""
        self.kill()
        self.start()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process
        self._process.send_signal(number)

    def wait(self, seconds: float = _STOP_S) -> int:
        """Wait until it has ended by itself; returns the exit code."""
        assert self._process
        return self._process.wait(seconds)

    @property
    def pid(self) -> int:
        """Its process id: with several workers the supervisor's."""
        assert self._process
        return self._process.pid

    def workers(self) -> dict[int, int]:
        """Process ids by worker: of each the one that began to listen last."""
        return {line["worker"]: line["pid"] for line in self.said("listening")}

    def __enter__(self) -> Self:
        with ExitStack() as failed:
            failed.push(self._leaving)
            failed.callback(self.stop)
            self.start()
            failed.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
            failures = [line for line in self.said() if line.get("exception")]
            assert kind is not None or not failures, failures
        finally:
            self._leaving.close()

    # --- callers -----------------------------------------------------------------------------------------

    def sdk(self, key: str = KEY) -> openai.OpenAI:
        """The real SDK, without retries of its own. The caller closes it."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=30)

    def async_sdk(self, key: str = KEY) -> openai.AsyncOpenAI:
        """The same, async."""
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=30)

    def chat(
        self, model: str = "echo", *, key: str | None = KEY, text: str = "one two three", **fields: Any
    ) -> httpx2.Response:
        """One chat completion, not streamed unless `stream=True` (then the body holds all events)."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        return self.post("/v1/chat/completions", orjson.dumps(body), key=key)

    def post(
        self, path: str, body: bytes, *, key: str | None = KEY, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        """One POST, on a connection of its own."""
        given = {
            "content-type": "application/json",
            **({"authorization": f"Bearer {key}"} if key else {}),
            **(headers or {}),
        }
        return httpx2.post(f"{self.url}{path}", content=body, headers=given, timeout=30, **PLAIN)

    def get(self, path: str, *, key: str | None = KEY) -> httpx2.Response:
        """One GET from the callers' listener."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx2.get(f"{self.url}{path}", headers=headers, timeout=30, **PLAIN)

    def ops(self, path: str, *, method: str = "GET", key: str | None = ADMIN_KEY) -> httpx2.Response:
        """One request to the operators' listener."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx2.request(method, f"{self.ops_url}{path}", headers=headers, timeout=30, **PLAIN)

    def admin(self, path: str, body: Json | None = None, *, key: str | None = ADMIN_KEY) -> httpx2.Response:
        """One call of the admin API: a POST where there is a body, else a GET."""
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        method, content = ("GET", None) if body is None else ("POST", orjson.dumps(body))
        return httpx2.request(method, f"{self.ops_url}{path}", headers=headers, content=content, timeout=30, **PLAIN)

    # --- what it says ------------------------------------------------------------------------------------

    def said(self, event: str | None = None) -> list[Json]:
        """Its messages, parsed; those of one kind if `event` is given."""
        lines = [orjson.loads(line) for line in _complete(self.messages) if line.startswith(b"{")]
        return [line for line in lines if event is None or line["event"] == event]

    def lines(self, count: int = 0) -> list[Json]:
        """The access log, once it has at least `count` lines."""
        self._wait(lambda: self.access_log.read_bytes().count(b"\n") >= count, 10, f"fewer than {count} access lines")
        return [orjson.loads(line) for line in _complete(self.access_log)]

    def line(self, response: httpx2.Response) -> Json:
        """The access line of a response, once it is written."""
        wanted = response.headers["x-request-id"].encode()
        self._wait(
            lambda: any(wanted in one for one in _complete(self.access_log)), 10, f"no access line for {wanted!r}"
        )
        return next(line for line in self.lines() if line["request_id"].encode() == wanted)

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample of `/metrics`, by name and labels."""
        text = self.ops("/metrics").text
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of `name` whose labels include `labels`."""
        wanted = set(labels.items())
        return sum(value for (found, held), value in self.metrics().items() if found == name and wanted <= held)

    def outcomes(self) -> dict[str, int]:
        """Requests by outcome."""
        counts: dict[str, int] = {}
        for (name, labels), value in self.metrics().items():
            if name == "sluicegate_requests_total":
                outcome = dict(labels)["outcome"]
                counts[outcome] = counts.get(outcome, 0) + int(value)
        return counts

    def until(
        self, condition: Callable[[], bool], *, seconds: float = 10, what: str = "the condition never held"
    ) -> None:
        """Wait until the condition holds. Raises AssertionError when it does not in time."""
        self._wait(condition, seconds, what)

    def _wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            ended = self._process is not None and self._process.poll() is not None
            assert not ended, f"{what}: the gateway has ended: {self.messages.read_text()}"
            assert time.monotonic() < end, f"{what}: {self.messages.read_text()[-2000:]}"
            time.sleep(0.01)
