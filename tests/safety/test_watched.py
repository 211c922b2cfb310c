"""Events that are alike: what a glance lets through is what reading them would have let through."""

from __future__ import annotations

from collections.abc import Iterable

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.exchange import Batch, Call, Event, JsonObject, Operation
from app.pipeline.report import Report
from app.providers.sse import SSEParser
from app.safety.answers import Answers
from app.safety.vault import Restorer
from app.safety.watched import Alike, Watched
from app.safety.window import Window
from scripts.safety_streams import stage


def watching() -> Window:
    """A window of a guard that blocks."""
    scanner = GUARDS["block"].scanner
    if scanner is None:
        raise AssertionError
    return Window(scanner, {"blocklist": "block"})


GUARDS = {action: stage(action) for action in ("block", "redact")}
CALL = Call(Operation.CHAT, "m", True, False, {}, 0)  # noqa: FBT003 - named in the tuple
WORDS = st.sampled_from(
    ["bomb", " bomb ", "b-o-m-b", "internal ", "codename", "a.b@example.com", "4111 1111", " 1111 1111", "\u6975\u79d8",
     "\u8a08\u753b", "\u00a7", " the", "\n", ' "quoted" ', "\\", "\u200b", "\U0001f600", "", "x", " ", "DE89 3704"]
)  # fmt: skip


def event(text: str, **more: object) -> bytes:
    """A chunk as most upstreams write it."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    return b"data: %b\n\n" % orjson.dumps({"id": "c", "choices": [choice], **more})


def told(data: bytes) -> str:
    """The text in events."""
    choices = [orjson.loads(one)["choices"][0] for one in SSEParser().feed(data)]
    return "".join(choice.get("delta", {}).get("content") or "" for choice in choices)


def shown(events: Batch) -> str:
    """The same, of events that were read."""
    return "".join(told(b"data: %b\n\n" % one.data) for one in events)


async def seen(action: str, pieces: Iterable[bytes], *, glances: bool) -> tuple[list[str], bool, set[str], int]:
    """What leaves after each piece, whether it was cut, what was found, and how many pieces a glance was enough for."""
    report, out, count = Report("g"), [], 0
    answers = Answers(CALL, GUARDS[action], report, None, {})
    for piece in pieces:
        known = answers.glance(piece, 1.0) if glances and not answers.cut else None
        if known is not None:
            out.append(told(known))
            count += 1
            continue
        text = ""
        for data in SSEParser().feed(piece):
            if not answers.cut:
                text += shown(answers.feed([Event(data, orjson.loads(data))], 1.0))
        out.append(text)
    rest = "" if answers.cut else shown(answers.feed(None, 2.0))
    return [*out, rest], answers.cut, {hit.category for hit in report.hits}, count


@given(st.sampled_from(sorted(GUARDS)), st.lists(st.lists(WORDS, min_size=1, max_size=3), max_size=30))
@example("block", [["x"], ["x"], [" bo"], ["mb "], ["x"]])
@example("redact", [["x"], ["x"], ["a.b@example", ".com"], [" x"]])
async def test_a_glance_lets_through_what_reading_would(action: str, texts: list[list[str]]) -> None:
    """Piece by piece, several events in one of them too."""
    pieces = [b"".join(event(text) for text in several) for several in texts]
    *read, _ = await seen(action, pieces, glances=False)
    *glanced, _ = await seen(action, pieces, glances=True)
    assert glanced == read


async def test_the_usual_stream_is_glanced_at() -> None:
    """All but the first events: the first of all, which has the answer's name, and the one that is learnt from."""
    pieces = [event(f" word{number}") for number in range(20)]
    out, cut, found, count = await seen("block", pieces, glances=True)
    assert ("".join(out), cut, found, count) == ("".join(f" word{n}" for n in range(20)), False, set(), 18)


@pytest.mark.parametrize(
    "piece",
    [
        event("x", usage={"total_tokens": 1}),
        event("x")[:-1],
        event("x") + b"data: [DONE]\n\n",
        event("x").replace(b'"x"', b'"x","role":"assistant"'),
        event("x").replace(b'"x"', b"7"),
        event("x").replace(b'"x"', b'"\\ud800"'),
        event("x").replace(b'"x"', b'"x","content":"y"'),
        event("x").replace(b'"index":0', b'"index":1'),
        event("x") + event("a bomb "),
    ],
)
def test_anything_else_changes_nothing(piece: bytes) -> None:
    """Other documents, half of one, several fields, no text, and what is found in the second of two."""
    window = watching()
    alike = Alike.of(event("t")[6:-2], Watched(window, None))
    assert alike is not None
    assert alike.glance(event("held")) == b""
    assert alike.glance(piece) is None
    assert window.held == len("held")
    assert told(alike.glance(event(" more.")) or b"") == "held "


@pytest.mark.parametrize("doc", [{"choices": []}, {"choices": [{"delta": {"reasoning": "t"}}]}])
def test_nothing_is_learnt_from_what_says_something_else(doc: JsonObject) -> None:
    """No text, and a text of another name."""
    window = watching()
    assert Alike.of(orjson.dumps(doc), Watched(window, None)) is None


def test_nothing_is_learnt_where_something_is_put_back() -> None:
    """What was redacted from the prompt comes back into the answer, which takes reading."""
    window = watching()
    assert Alike.of(event("t")[6:-2], Watched(window, Restorer({"[EMAIL_1]": "a@b.c"}, escaped=False))) is None


async def test_an_event_with_usage_is_never_dropped() -> None:
    """Though all of its text waits."""
    pieces = [event(text, usage=None) for text in (" a", " b", "c", "d", " ")]
    assert (await seen("block", pieces, glances=True))[3] == 3
