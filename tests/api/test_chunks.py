"""What the surfaces in other shapes read from an answer's chunks, whatever they make of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.api.chunks import ChunkWriter
from app.errors import GatewayError
from app.exchange import Event, JsonObject, Operation, Usage
from app.pipeline.progress import Progress


class Plain(ChunkWriter):
    """Tells what it was given, a line each."""

    __slots__ = ("begun",)

    def __init__(self) -> None:
        super().__init__(Progress("req_1", Operation.CHAT))
        self.begun = False

    def _whole(self, event: Event) -> JsonObject:
        return {"text": event.doc["choices"][0]["message"]["content"]}

    def _last(self, error: GatewayError | None) -> list[bytes]:
        return [b"end\n" if error is None else f"{error.message}\n".encode()]

    def _begin(self, doc: JsonObject, out: list[bytes]) -> None:
        if not self.begun:
            self.begun = True
            out.append(b"begin\n")

    def _take(self, delta: JsonObject, choice: JsonObject, out: list[bytes]) -> None:
        for call in delta.get("tool_calls") or ():
            out.append(b"another\n" if self._fresh(call, "call") else b"more\n")
            self._kind = "call"
        if "content" in delta:
            self._kind = "text"
            out.append(orjson.dumps(delta["content"]) + b"\n")


def chunk(delta: Any, usage: Usage | None = None, **choice: Any) -> Event:
    """A chunk of one choice."""
    return Event(b"", {"choices": [{"index": 0, "delta": delta, **choice}]}, usage=usage)


def test_the_first_choice_is_told_and_no_other() -> None:
    """The beginning once; usage and the choice that ended are kept."""
    one = Plain()
    told = one.events(
        [chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, Usage(1, 2), finish_reason="stop")]
    )
    assert told == b'begin\n"a"\n'
    assert (one._usage, one._ending["finish_reason"]) == (Usage(1, 2), "stop")


def test_calls_follow_each_other() -> None:
    """A new number is another call; a piece of the open one goes on; one that has ended cannot."""
    one, piece = Plain(), {"function": {"arguments": "x"}}

    def tell(number: int) -> bytes:
        return one.events([chunk({"tool_calls": [{"index": number, **piece}]})])

    assert [tell(0), tell(0), tell(1)] == [b"begin\nanother\n", b"more\n", b"another\n"]
    with pytest.raises(GatewayError, match="went back"):
        tell(0)
    one.events([chunk({"content": "between"})])
    with pytest.raises(GatewayError, match="went back"):
        tell(1)


@pytest.mark.parametrize("doc", [{"choices": 5}, {"choices": [5]}, {"choices": [{"delta": 5}]}])
def test_what_is_malformed_is_an_upstream_error(doc: JsonObject) -> None:
    """Never a bug of ours: streamed or whole."""
    with pytest.raises(GatewayError) as raised:
        Plain().events([Event(b"", doc)])
    assert raised.value.status == 502
    with pytest.raises(GatewayError):
        Plain().whole(Event(b"", doc))
    assert Plain().whole(Event(b"", {"choices": [{"message": {"content": "hi"}}]})) == b'{"text":"hi"}'


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ({"content": "c", "tool_calls": 5}, "The upstream's answer is malformed."),
        ({"tool_calls": [{"index": 0.5}]}, "The upstream's answer is malformed."),
        ({"tool_calls": [{"index": -2}]}, "The upstream went back to a tool call that had ended."),
    ],
)
def test_what_was_told_before_goes_out_before_the_error(odd: JsonObject, why: str) -> None:
    """However many chunks come at once: the caller knows of everything that the error follows."""
    together, apart = Plain(), Plain()
    with pytest.raises(GatewayError) as raised:
        together.events([chunk({"content": "a"}), chunk({"content": "b"}), chunk(odd)])
    assert together.end(raised.value) == f'begin\n"a"\n"b"\n{why}\n'.encode()
    told = apart.events([chunk({"content": "a"})]) + apart.events([chunk({"content": "b"})])
    with pytest.raises(GatewayError) as raised:
        apart.events([chunk(odd)])
    assert told + apart.end(raised.value) == f'begin\n"a"\n"b"\n{why}\n'.encode()


def test_an_end() -> None:
    """Nothing is left over where all went well."""
    one = Plain()
    assert one.events([chunk({"content": "a"})]) + one.end(None) == b'begin\n"a"\nend\n'
