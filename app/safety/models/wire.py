"""What workers and the detector process say to each other over a Unix socket: JSON behind a length of four bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import orjson

from app.safety.detector import Finding, Inspection, Passage

MAX_FRAME = 32 * 1024 * 1024
"""Bytes. A request body is at most 10 MiB by default; whoever announces more than this has lost the thread."""
_LENGTH = 4

OVERLOADED = "the detector process has too much to do"
BROKEN = "the detector failed"


class Ask(NamedTuple):
    """A question: what `detector` finds in an inspection. It is not worth answering after `within` seconds."""

    number: int
    detector: str
    within: float
    inspection: Inspection


class Answer(NamedTuple):
    """What was found, or why nothing can be said."""

    number: int
    findings: tuple[Finding, ...] = ()
    error: str = ""


def frame(payload: bytes) -> bytes:
    """A message as it goes over the socket."""
    return len(payload).to_bytes(_LENGTH, "big") + payload


def ask(question: Ask) -> bytes:
    """The frame of a question."""
    seen = question.inspection
    texts = [(_clean(text), role) for text, role in seen.passages]
    documents = [_clean(text) for text in seen.documents]
    return frame(
        orjson.dumps(
            (
                question.number,
                question.detector,
                question.within,
                (seen.stage, texts, _clean(seen.before), documents, _clean(seen.question)),
            )
        )
    )


def forget(number: int) -> bytes:
    """The frame that says that nobody waits for an answer any more."""
    return frame(orjson.dumps((number,)))


def answer(reply: Answer) -> bytes:
    """The frame of an answer."""
    return frame(orjson.dumps((reply.number, [tuple(one) for one in reply.findings], reply.error)))


def read_question(payload: bytes) -> Ask | int:
    """A question, or the number of one that is to be forgotten."""
    message = orjson.loads(payload)
    if len(message) == 1:
        return int(message[0])
    number, detector, within, (stage, texts, before, documents, question) = message
    passages = tuple(Passage(text, role) for text, role in texts)
    return Ask(number, detector, within, Inspection(stage, passages, before, tuple(documents), question))


def read_answer(payload: bytes) -> Answer:
    """An answer."""
    number, findings, error = orjson.loads(payload)
    return Answer(number, tuple(Finding(*finding) for finding in findings), error)


def _clean(text: str) -> str:
    """JSON has no lone surrogates; a caller's text may."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


class Frames:
    """Bytes as they arrive to whole messages. Raises `ValueError` when a length makes no sense."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Every message that is complete now."""
        self._buffer += data
        start = 0
        while len(self._buffer) >= start + _LENGTH:
            size = int.from_bytes(self._buffer[start : start + _LENGTH], "big")
            if size > MAX_FRAME:
                raise ValueError("a message is longer than any can be")
            if len(self._buffer) < start + _LENGTH + size:
                break
            yield bytes(self._buffer[start + _LENGTH : start + _LENGTH + size])
            start += _LENGTH + size
        del self._buffer[:start]
