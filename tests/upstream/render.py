"""Turns steps of events into the bytes of the body: event style, compression, chunks of the transfer encoding."""

from __future__ import annotations

import gzip
import zlib

from tests.upstream.behaviour import Behaviour
from tests.upstream.dialect import Step

LAST_CHUNK = b"0\r\n\r\n"
_PLAIN = b"data: %b\n\n"
_FORMS = {
    None: _PLAIN,
    "crlf": b"data: %b\r\n\r\n",
    "nospace": b"data:%b\n\n",
    "comments": b": still here\n\nid: 1\ndata: %b\n\n",
}

Timed = tuple[bytes, int]
"""Bytes that leave together, and the tokens in them."""


def stream(steps: list[Step], behaviour: Behaviour, *, ends: bool, named: bool = False) -> list[Timed]:
    """The bytes of each step. `ends`: the last one also ends the body properly. `named`: events say their names."""
    form = _FORMS[behaviour.style]
    if named:
        return _named(steps, form, ends=ends)
    if behaviour.joined > 1:
        steps = _joined(steps, behaviour.joined)
    if behaviour.gzip or behaviour.split or behaviour.until_close or behaviour.joined > 1:
        timed = _unusual(steps, behaviour, form)
    else:
        timed = [(_chunks(step.events, form), step.tokens) for step in steps]
    if ends and not behaviour.until_close:
        data, tokens = timed[-1] if timed else (b"", 0)
        timed[-1:] = [(data + LAST_CHUNK, tokens)]
    return timed


def _named(steps: list[Step], form: bytes, *, ends: bool) -> list[Timed]:
    timed = [(chunk(b"".join([name(each) + form % each for each in step.events])), step.tokens) for step in steps]
    if ends:
        data, tokens = timed[-1] if timed else (b"", 0)
        timed[-1:] = [(data + LAST_CHUNK, tokens)]
    return timed


def name(event: bytes) -> bytes:
    """The line that names an event after its `type`, which stands first in it."""
    kind = event.partition(b'"type":"')[2].partition(b'"')[0]
    return b"event: %b\n" % kind


def whole(body: bytes, behaviour: Behaviour) -> bytes:
    """The body of a non-streamed answer."""
    return gzip.compress(body, 1) if behaviour.gzip else body


def chunk(data: bytes) -> bytes:
    """One chunk of the transfer encoding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(data: bytes, behaviour: Behaviour) -> bytes:
    """One event in the behaviour's style."""
    return _FORMS[behaviour.style] % data


def _chunks(events: list[bytes], form: bytes) -> bytes:
    if len(events) == 1 and form is _PLAIN:
        text = events[0]
        return b"%x\r\ndata: %b\n\n\r\n" % (len(text) + 8, text)
    return b"".join([chunk(form % each) for each in events])


def _joined(steps: list[Step], size: int) -> list[Step]:
    groups = [steps[k : k + size] for k in range(0, len(steps), size)]
    return [
        Step([each for step in group for each in step.events], sum(step.tokens for step in group)) for group in groups
    ]


def _unusual(steps: list[Step], behaviour: Behaviour, form: bytes) -> list[Timed]:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31) if behaviour.gzip else None
    timed = []
    for position, step in enumerate(steps):
        texts = [form % each for each in step.events]
        if behaviour.joined > 1:
            texts = [b"".join(texts)]
        if packer:
            end = zlib.Z_FINISH if position == len(steps) - 1 else zlib.Z_SYNC_FLUSH
            texts = [packer.compress(b"".join(texts)) + packer.flush(end)]
        if behaviour.split:
            texts = [text[k : k + behaviour.split] for text in texts for k in range(0, len(text), behaviour.split)]
        timed.append((b"".join(texts) if behaviour.until_close else b"".join(map(chunk, texts)), step.tokens))
    return timed
