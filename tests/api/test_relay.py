"""From the path to the caller: an error is a status before the first batch, and an event after it."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from app.api import relay
from app.api.relay import Relay, say_goodbye
from app.api.surface import OpenAISurface
from app.errors import OVERLOADED, UPSTREAM_ERROR, GatewayError
from app.exchange import Batch, Event, Operation
from app.pipeline.progress import Progress
from app.pipeline.serve import Deliver
from tests.api.test_answers import Sent
from tests.pipeline.parts import call

SURFACE = OpenAISurface()
ONE = Event(b'{"a": 1}', {"a": 1})


def asked(*, stream: bool) -> Progress:
    """A request whose body was read."""
    progress = Progress("req_1", Operation.CHAT)
    progress.call = call(stream=stream)
    return progress


async def relayed(progress: Progress, *steps: Batch | Exception) -> tuple[int, bytes]:
    """Status and body of what the caller gets from a path that delivers batches, or fails."""
    sent = Sent()

    async def path(_arrival: object, _progress: Progress, _services: object, deliver: Deliver) -> None:
        for step in steps:
            if isinstance(step, Exception):
                raise step
            await deliver(step)

    nobody: Any = None
    with patch.object(relay, "serve", path):
        await Relay(progress, SURFACE, sent, None).run(nobody, nobody)
    return sent[0]["status"], b"".join(one["body"] for one in sent[1:])


async def test_a_whole_answer_and_a_stream() -> None:
    """The upstream's own bytes."""
    progress = asked(stream=False)
    assert await relayed(progress, [ONE]) == (200, ONE.data)
    assert progress.status == 200
    assert await relayed(asked(stream=True), [ONE], [ONE]) == (200, b'data: {"a": 1}\n\n' * 2 + b"data: [DONE]\n\n")


async def test_an_error_before_the_first_batch_is_a_status() -> None:
    """With the request's id; and a bug is a 500 that tells nothing of itself."""
    status, body = await relayed(asked(stream=True), GatewayError(UPSTREAM_ERROR, "it fell over"))
    assert (status, b"it fell over" in body) == (502, True)
    status, body = await relayed(asked(stream=False), ZeroDivisionError("secret"))
    assert (status, b"secret" in body) == (500, False)


async def test_an_error_after_it_is_an_event() -> None:
    """The head is out: the stream ends with the error."""
    status, body = await relayed(asked(stream=True), [ONE], GatewayError(UPSTREAM_ERROR, "it fell over"))
    assert (status, body.startswith(b'data: {"a": 1}'), b"it fell over" in body) == (200, True, True)
    status, body = await relayed(asked(stream=True), [ONE], ZeroDivisionError("secret"))
    assert (status, b"internal_error" in body, b"secret" in body) == (200, True, False)


async def test_an_answer_that_is_not_streamed_has_one_event() -> None:
    """A second one is a bug of a dialect."""
    assert (await relayed(asked(stream=False), [ONE], [ONE]))[0] == 500


async def test_goodbye() -> None:
    """Whoever has no head yet gets a status, a stream its last event; half an answer that is whole gets nothing."""
    sent = Sent()
    await say_goodbye(asked(stream=True), SURFACE, sent)
    assert sent[0]["status"] == GatewayError(OVERLOADED, "").status
    for stream, count in ((True, 1), (False, 0)):
        progress, sent = asked(stream=stream), Sent()
        progress.status = 200
        await say_goodbye(progress, SURFACE, sent)
        assert len(sent) == count
