"""Values that the tests of the stages share: a table, its deployments, calls, and telemetry that can be read."""

from __future__ import annotations

from typing import Any

import orjson

from app.cells import Cells
from app.exchange import Call, JsonObject, Operation
from app.pipeline.spans import Tracer
from app.pipeline.validate import validate
from app.table import Deployment, State, Table, build
from app.telemetry import DROPPED, Metric, Telemetry
from tests.support.configs import loaded


def table(changes: dict[str, Any] | None = None) -> Table:
    """The table of the small configuration, changed."""
    return build(loaded(changes))


def state(changes: dict[str, Any] | None = None) -> State:
    """The same as a running table."""
    return State(table(changes))


def deployment(name: str = "one", **settings: Any) -> Deployment:
    """A deployment of the small configuration, with settings changed by path below it."""
    place = {"one": 0, "two": 1}[name]
    return table({f"deployments[{place}].{path}": value for path, value in settings.items()}).deployments[name]


def replicas(*ports: int, **settings: Any) -> Deployment:
    """A deployment with an endpoint per port."""
    urls = [f"http://127.0.0.1:{port}/v1" for port in ports]
    return deployment(**{"base_url": None, "endpoints": urls, "health": None, **settings})


def call(operation: Operation = Operation.CHAT, **fields: Any) -> Call:
    """A call as `validate` makes it."""
    usual: dict[Operation, dict[str, Any]] = {
        Operation.CHAT: {"messages": [{"role": "user", "content": "hi"}]},
        Operation.COMPLETION: {"prompt": "hi"},
        Operation.EMBEDDINGS: {"input": "hi"},
        Operation.RERANK: {"query": "hi", "documents": ["a", "b"]},
        Operation.SCORE: {"text_1": "hi", "text_2": "there"},
        Operation.TOKENIZE: {"prompt": "hi"},
    }
    return validate(operation, orjson.dumps({"model": "chat", **usual[operation], **fields}))


class Counted(Telemetry):
    """Telemetry in memory."""

    def __init__(self) -> None:
        super().__init__(Cells())

    def read(self, metric: Metric) -> dict[tuple[str, ...], tuple[float, ...]]:
        """Every series of a metric: its slots by its labels."""
        return {series.labels: slots for series, slots in self.cells.read() if series.metric == metric.name}

    def total(self, metric: Metric, *labels: str) -> float:
        """The sum of a counter's or gauge's series that hold these label values among theirs."""
        return sum(slots[0] for found, slots in self.read(metric).items() if set(labels) <= set(found))

    def observed(self, metric: Metric, *labels: str) -> tuple[int, float]:
        """A histogram's count and sum over the series that hold these label values among theirs."""
        held = [slots for found, slots in self.read(metric).items() if set(labels) <= set(found)]
        return int(sum(sum(slots[:-1]) for slots in held)), sum(slots[-1] for slots in held)


def no_tracer(telemetry: Telemetry) -> Tracer:
    """A tracer that only hands contexts on."""
    return Tracer(None, 0.0, 10.0, telemetry.counter(DROPPED, "spans"))


class Lines:
    """An access log that keeps its lines."""

    def __init__(self) -> None:
        self.written: list[JsonObject] = []

    def write(self, line: JsonObject) -> None:
        """Keep a line."""
        self.written.append(line)
