"""OpenAI's surface changes nothing: the same bytes in, the same bytes out."""

from __future__ import annotations

import orjson

from app.api.answers import DONE, error_event, events
from app.api.surface import OpenAISurface, malformed
from app.errors import OVERLOADED, GatewayError
from app.exchange import Event, Operation
from app.pipeline.progress import Progress
from app.pipeline.validate import validate

SURFACE = OpenAISurface()


def test_a_body_is_what_it_says() -> None:
    """Validation, and no translation."""
    raw = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]})
    assert SURFACE.understand(Operation.CHAT, raw) == validate(Operation.CHAT, raw)


def test_answers_go_through_as_they_came() -> None:
    """Whole, as events, at the end, and broken off."""
    writer = SURFACE.writer(Progress("req_1", Operation.CHAT))
    event, hidden = Event(b'{ "a": 1}', {"a": 1}), Event(b"{}", {}, hidden=True)
    assert writer.whole(event) is event.data
    assert writer.events([event, hidden]) == events([event, hidden]) == b'data: { "a": 1}\n\n'
    error = GatewayError(OVERLOADED, "busy")
    assert (writer.end(None), writer.end(error)) == (DONE, error_event(error))
    assert SURFACE.document(error, "req_1") == error.document()


def test_what_cannot_be_told_is_the_upstreams_fault() -> None:
    """A 502, not a bug of ours."""
    assert malformed().status == 502
