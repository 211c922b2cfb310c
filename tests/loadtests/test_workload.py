"""What is asked is what is said, and only right answers pass."""

from __future__ import annotations

import orjson
import pytest

from loadtests.line import Answer, Shot
from loadtests.workload import PROMPT, TOKENS, Door, StreamCheck, chat, check_whole
from tests.upstream.words import message_tokens

TEXT = " ".join(["word"] * TOKENS)


def whole(text: str = TEXT, tokens: int = TOKENS, status: int = 200) -> Answer:
    """An answer that was not streamed."""
    document = {"choices": [{"message": {"content": text}}], "usage": {"completion_tokens": tokens}}
    return Answer(Shot(b""), status=status, body=orjson.dumps(document))


def stream(*texts: str, end: bytes = b"data: [DONE]\n\n") -> Answer:
    """A streamed answer: a role, texts, a finish reason, usage."""
    deltas = [{"role": "assistant", "content": ""}, *({"content": text} for text in texts), {}]
    documents = [*({"choices": [{"delta": delta}]} for delta in deltas), {"choices": [], "usage": {}}]
    events = b"".join(b"data: " + orjson.dumps(document) + b"\n\n" for document in documents)
    return Answer(Shot(b""), status=200, body=events + end)


def test_the_prompt_has_200_tokens() -> None:
    """As the fake upstream counts them."""
    assert message_tokens([{"role": "user", "content": PROMPT}]) == 200


def test_a_shot_is_a_request_for_the_door() -> None:
    """With the door's path and headers, and the body's length."""
    body = chat("m", stream=True)
    wire = Door("127.0.0.1", 80, (("authorization", "Bearer k"),), "/p").shot(body).wire
    head, _, rest = wire.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /p HTTP/1.1\r\nhost: 127.0.0.1:80\r\n")
    assert b"\r\nauthorization: Bearer k\r\n" in head + b"\r\n"
    assert rest == body
    assert orjson.loads(body)["stream"] is True


def test_right_answers_pass() -> None:
    """Whole and streamed."""
    assert check_whole(whole()) is None
    assert StreamCheck(3)(stream("a", "b", "c")) is None
    crlf = stream("a", "b")
    crlf.body = crlf.body.replace(b"\n", b"\r\n")
    assert StreamCheck(2)(crlf) is None


@pytest.mark.parametrize(
    "answer",
    [
        whole(status=500),
        whole(text="short"),
        whole(tokens=TOKENS + 1),
        Answer(Shot(b""), status=200, body=b"<html>"),
        Answer(Shot(b""), status=200, body=b'{"choices": []}'),
        Answer(Shot(b""), fault="closed before the response"),
    ],
)
def test_wrong_whole_answers_do_not_pass(answer: Answer) -> None:
    """Each for its own reason."""
    assert check_whole(answer)


@pytest.mark.parametrize(
    "answer",
    [
        stream("a"),
        stream("a", "b", "c"),
        stream("a", "b", end=b""),
        stream("a", "b", end=b'data: {"error": {"message": "m"}}\n\ndata: [DONE]\n\n'),
        Answer(Shot(b""), status=429),
        Answer(Shot(b""), status=200, fault="closed within the response"),
    ],
)
def test_wrong_streams_do_not_pass(answer: Answer) -> None:
    """A chunk too few or too many, no end, an error inside, no stream at all."""
    assert StreamCheck(2)(answer)
