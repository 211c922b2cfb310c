"""What the tests against a real vLLM share: the gateway in front of it, both sides' metrics, and the captures.

The servers themselves are scripts/vllm/server.py's, the same as the demo's.
"""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from openai import AsyncOpenAI, OpenAI

from loadtests.server import free_port
from scripts.vllm.server import ROOT, Server, gateway

T = TypeVar("T")
JsonObject = dict[str, Any]
CAPTURES = ROOT / "tests" / "fixtures" / "vllm"
KEY = "sk-tests-of-the-real-thing"
_SERVER = """\
server: {{host: 127.0.0.1, port: {port}, ops: {{host: 127.0.0.1, port: {ops_port}}}}}
tenants: [{{name: tests, keys: [{{name: tests, secret: env:SLUICEGATE_TESTS_KEY}}]}}]
deployments:
{deployments}
models:
{models}
"""


class Front:
    """The gateway as a process of its own; each model is named like its one deployment. `sections` are further ones."""

    def __init__(self, folder: Path, deployments: dict[str, JsonObject], **sections: object) -> None:
        self.log = folder / "gateway.log"
        self.port, self.ops_port = free_port(), free_port()
        self.url, self.base_url = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.port}/v1"
        self._config = folder / "gateway.yaml"
        more = "".join(f"{name}: {json.dumps(value)}\n" for name, value in sections.items())
        self._config.write_text(self._yaml(deployments) + more)
        self._server: Server | None = None

    def _yaml(self, deployments: dict[str, JsonObject]) -> str:
        """JSON is YAML."""
        rows = "\n".join(f"  - {json.dumps({'name': name, **rest})}" for name, rest in deployments.items())
        models = "\n".join(f"  - {json.dumps({'name': name, 'stable': name})}" for name in deployments)
        return _SERVER.format(port=self.port, ops_port=self.ops_port, deployments=rows, models=models)

    def __enter__(self) -> Self:
        self._server = gateway(self._config, self.port, self.log, SLUICEGATE_TESTS_KEY=KEY).wait(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server:
            self._server.stop()

    def sync(self) -> OpenAI:
        """The SDK, without retries of its own; close it."""
        return OpenAI(base_url=self.base_url, api_key=KEY, max_retries=0, timeout=120)

    def asynchronous(self) -> AsyncOpenAI:
        """The asynchronous SDK, likewise."""
        return AsyncOpenAI(base_url=self.base_url, api_key=KEY, max_retries=0, timeout=120)

    def lines(self) -> list[JsonObject]:
        """The access log so far, oldest first."""
        texts = self.log.read_text().splitlines(keepends=True)
        found = [json.loads(text) for text in texts if text.startswith("{") and text.endswith("\n")]
        return [line for line in found if line.get("event") == "request"]

    def line(self, request_id: str) -> JsonObject:
        """The access line of one request, which is written a moment after its end."""
        found = until(lambda: [line for line in self.lines() if line["request_id"] == request_id], len)
        assert len(found) == 1, found
        return found[0]

    def metric(self, name: str, **labels: str) -> float:
        """A metric of the gateway, summed over the series that have these labels."""
        return scraped(f"http://127.0.0.1:{self.ops_port}/metrics", name, labels)


def deployment(server: Server, model: str, **changes: Any) -> JsonObject:
    """A deployment of a vLLM server, as it stands in the configuration; a dollar per million tokens, both ways.

    Its timeouts are for a machine with other work to do: nothing here is about them.
    """
    asked: JsonObject = {
        "provider": "vllm",
        "base_url": f"{server.base}/v1",
        "model": model,
        "price": {"input": 1, "output": 1},
    }
    asked |= {
        "context_window": 2048,
        "max_output_tokens": 1024,
        "timeouts": {"first_token": 100, "between_tokens": 100},
    }
    return asked | changes


def engine_metric(server: Server, name: str, **labels: str) -> float:
    """A metric of vLLM's, without its `vllm:`, summed over the series that have these labels."""
    return scraped(f"{server.base}/metrics", f"vllm:{name}", labels)


def scraped(url: str, name: str, labels: dict[str, str]) -> float:
    """The sum of a metric's series that have these labels; 0 where there is none."""
    with urllib.request.urlopen(url, timeout=10) as response:
        text = response.read().decode()
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    samples = re.findall(rf"^{re.escape(name)}(?:{{(.*)}})? (\S+)", text, re.MULTILINE)
    return sum(float(value) for inside, value in samples if all(pair in inside for pair in wanted))


def until(read: Callable[[], T], good: Callable[[T], object], *, seconds: float = 5) -> T:
    """Read until it is good; returns what was read. Raises AssertionError when it does not become so in time."""
    end = time.monotonic() + seconds
    while not good(value := read()):
        assert time.monotonic() < end, f"still {value!r} after {seconds} s"
        time.sleep(0.01)
    return value


def capture(name: str) -> JsonObject:
    """One exchange with a real vLLM: `request` and `response`, as the captures' README tells."""
    found: JsonObject = json.loads((CAPTURES / f"{name}.json").read_text())
    return found
