"""A locust file: plays the profile that `LOAD_PROFILE` names. Started by `python -m loadtests.load`.

By hand, and with a web page: `LOAD_PROFILE=stream LOAD_KEYS=KEY .load/bin/locust -f loadtests/locust/profiled.py`.
"""

from __future__ import annotations

import json
import os
from itertools import cycle
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any, ClassVar

import orjson
from locust import FastHttpUser, LoadTestShape, between, events, stats, task
from locust.runners import WorkerRunner

from loadtests.profiles import BETWEEN, FIRST, PROFILES
from loadtests.workload import PROMPT, chat

_SCALE = tuple(float(part) for part in os.environ.get("LOAD_SCALE", "1,1").split(","))
PROFILE = PROFILES[os.environ.get("LOAD_PROFILE", "chat")].scaled(*_SCALE)
MODELS = dict(pair.split("=", 1) for pair in os.environ.get("LOAD_MODELS", "").split(",") if pair)
"""Which model serves a kind of request: `chat=…,stream=…,embeddings=…`; without, its kind is its name."""
KEYS = cycle(os.environ.get("LOAD_KEYS", "none").split(","))
LONG_WORDS = int(os.environ.get("LOAD_LONG_WORDS", "100000"))
_LONG = (PROMPT + " ") * (LONG_WORDS // len(PROMPT.split()) + 1)


def _bucket(milliseconds: float) -> float:
    """A tenth of a millisecond below a second. Locust's own buckets are 10 ms wide from 100 ms on."""
    return round(milliseconds, 1 if milliseconds < 1000 else -1)


stats.bucket_response_time = _bucket


class Caller(FastHttpUser):
    """Somebody with a key, who pauses between two requests."""

    abstract = True
    wait_time = between(*PROFILE.pause)
    connection_timeout = 10.0
    network_timeout = 120.0

    def on_start(self) -> None:
        """Take the next of the keys; the same caller keeps it, and his name."""
        self.name = f"caller-{Random().getrandbits(48):x}"
        self.headers = {"authorization": f"Bearer {next(KEYS)}", "content-type": "application/json"}

    def ask(self, path: str, body: bytes, row: str, **headers: str) -> Any:
        """One request whose answer must be 200 and JSON."""
        with self.client.post(
            path, data=body, headers=self.headers | headers, name=row, catch_response=True
        ) as response:
            if response.status_code != 200:
                response.failure(f"HTTP {response.status_code}: {(response.text or '')[:200]}")
            elif b'"error"' in response.content[:10]:
                response.failure(response.text[:200])
            return response

    def stream(self, body: bytes, row: str, *, leave_after: int = 0) -> None:
        """One stream, timed line by line: locust's `iter_lines` waits for 1 024 bytes, and so for several tokens."""
        began = perf_counter()
        with self.client.post(
            "/v1/chat/completions", data=body, headers=self.headers, name=row, stream=True, catch_response=True
        ) as response:
            if response.status_code != 200:
                response.failure(f"HTTP {response.status_code}")
                return
            last, pieces = 0.0, 0
            while (line := response._response.readline(b"\n")) and not line.startswith(b"data: [DONE]"):  # noqa: SLF001 -- nothing public reads a line as it comes
                if line.startswith(b'data: {"error"'):
                    response.failure(line.decode()[:200])
                    return
                if b'"content":"' not in line or b'"content":""' in line:
                    continue
                now = perf_counter()
                measured(FIRST if not pieces else BETWEEN, now - (last or began))
                last, pieces = now, pieces + 1
                if pieces == leave_after:
                    self.client.client.close()
                    response.success()
                    return
            if line:
                response.success()
            else:
                response.failure(f"the stream ended after {pieces} pieces, without [DONE]")


def measured(row: str, seconds: float) -> None:
    """A time that is a row of its own."""
    events.request.fire(
        request_type="", name=row, response_time=seconds * 1e3, response_length=0, exception=None, context={}
    )


def _model(kind: str) -> str:
    return MODELS.get(kind, kind)


class Chat(Caller):
    """Whole answers to prompts of 200 tokens."""

    weight = PROFILE.callers.get("chat", 0)
    body: ClassVar = chat(_model("chat"), stream=False)

    @task
    def whole(self) -> None:
        """Ask."""
        self.ask("/v1/chat/completions", self.body, "chat")


class Sticky(Caller):
    """The same as somebody who says who he is."""

    weight = PROFILE.callers.get("sticky", 0)

    @task
    def whole(self) -> None:
        """Ask; a row per arm tells the shares."""
        body = orjson.dumps(orjson.loads(chat(_model("chat"), stream=False)) | {"user": self.name})
        response = self.ask("/v1/chat/completions", body, "chat")
        measured(f"arm {response.headers.get('x-sluicegate-arm', '?')}", 0.0)


class Long(Caller):
    """Prompts of 100 000 tokens."""

    weight = PROFILE.callers.get("long", 0)
    body: ClassVar = chat(_model("chat"), stream=False, prompt=_LONG)

    @task
    def whole(self) -> None:
        """Ask."""
        self.ask("/v1/chat/completions", self.body, "long")


class Streaming(Caller):
    """Streams."""

    weight = PROFILE.callers.get("stream", 0)
    body: ClassVar = chat(_model("stream"), stream=True)

    @task
    def whole(self) -> None:
        """Read one to its end."""
        self.stream(self.body, "stream")


class Leaver(Caller):
    """Streams that are left after three pieces."""

    weight = PROFILE.callers.get("leaver", 0)
    body: ClassVar = chat(_model("stream"), stream=True)

    @task
    def part(self) -> None:
        """Read a little."""
        self.stream(self.body, "left", leave_after=3)


class Embeddings(Caller):
    """Sixteen texts at a time."""

    weight = PROFILE.callers.get("embeddings", 0)
    body: ClassVar = orjson.dumps({"model": _model("embeddings"), "input": [PROMPT[at : at + 200] for at in range(16)]})

    @task
    def many(self) -> None:
        """Ask."""
        self.ask("/v1/embeddings", self.body, "embeddings")


@events.quitting.add_listener
def write_result(environment: Any, **_: Any) -> None:
    """The final figures, for `goals.py`: the last lines of locust's CSV lag behind them. The master has everybody's."""
    if (target := os.environ.get("LOAD_RESULT")) and not isinstance(environment.runner, WorkerRunner):
        rows = [
            {
                "name": entry.name, "request": bool(entry.method), "count": entry.num_requests,
                "failed": entry.num_failures, "rate": entry.total_rps,
                **{f"p{share}": entry.get_response_time_percentile(share / 100) for share in (50, 95, 99)},
            }
            for entry in environment.stats.entries.values()
        ]  # fmt: skip
        Path(target).write_text(json.dumps(rows))


class Shape(LoadTestShape):
    """The profile's stages, one after the other; locust ends after the last."""

    def tick(self) -> tuple[int, float] | None:
        """How many callers there should be now, and how fast they come."""
        until = 0.0
        for stage in PROFILE.stages:
            until += stage.seconds
            if self.get_run_time() < until:
                return stage.users, stage.rate
        return None
