"""An answer that waits for an ensemble: when it asks, what leaves, and that nothing waits for longer than is stated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from app.exchange import Event, JsonObject
from app.pipeline.report import Hit, Report
from app.safety.cleared import Cleared
from app.safety.detector import DetectorFailure, Finding, Inspection
from app.safety.guards import Guards
from app.safety.policy import CheckedPrompt
from tests.pipeline.parts import call
from tests.safety.guarding import chunk, ends, said
from tests.support.configs import loaded


class Reader:
    """A detector that finds a word, as soon as it is allowed to answer."""

    name = "classifier"
    categories = frozenset({"hate", "violence"})

    def __init__(self, *, open_: bool = True) -> None:
        self.asked: list[Inspection] = []
        self.may = asyncio.Event()
        if open_:
            self.may.set()

    async def check(self, inspection: Inspection) -> Sequence[Finding]:
        """Hate where somebody hates; a failure where the text says so."""
        self.asked.append(inspection)
        await self.may.wait()
        if any("crash" in one.text for one in inspection.passages):
            raise DetectorFailure("down")
        return [Finding("hate", 6, passage=i) for i, one in enumerate(inspection.passages) if "hate" in one.text]


class Answer:
    """One watched answer; work beside it runs when `settle` is awaited."""

    def __init__(self, reader: Reader, completion: JsonObject | None = None, **fields: Any) -> None:
        settings = {"detectors": ["classifier"], "deadline_ms": 60_000, **(completion or {})}
        (guard,) = loaded(
            {"guards": [{"name": "default", "completion": settings}], "safety": {"profile": "tiny"}}
        ).guards
        policy = Guards([guard], {"classifier": reader}).of(guard, "team")
        self.reader = reader
        self.report = Report("default")
        watch = policy.slow_watch(CheckedPrompt(call(**{"stream": True, **fields})), self.report)
        assert watch is not None
        self.watch: Cleared = watch
        self.work: list[asyncio.Task[None]] = []
        self.now = 0.0

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin work beside the answer."""
        self.work.append(asyncio.ensure_future(work))

    async def feed(self, *docs: JsonObject) -> list[JsonObject]:
        """What may leave once this has come, before anybody has answered."""
        await self.watch.feed([Event(b"{}", doc) for doc in docs] or None, self.now, self.start)
        return [event.doc for event in self.watch.ready(self.now)]

    async def settle(self) -> list[JsonObject]:
        """What may leave once everybody has answered."""
        await asyncio.gather(*self.work)
        return [event.doc for event in self.watch.ready(self.now)]


async def test_a_sentence_is_asked_about_at_its_end() -> None:
    """Not before; and leaves when it is clear."""
    reader = Reader()
    answer = Answer(reader)
    assert await answer.feed(chunk("I like"), chunk(" you")) == []
    assert reader.asked == []
    assert await answer.feed(chunk("."), chunk(" And")) == []
    assert said(await answer.settle()) == "I like you."
    assert [one.text for one in reader.asked[0].passages] == ["I like you."]
    assert await answer.feed() == []
    assert said(await answer.settle()) == " And"
    assert (reader.asked[1].before, answer.watch.idle) == ("I like you.", True)


@pytest.mark.parametrize(
    "delta",
    [
        lambda text: {"content": text},
        lambda text: {"reasoning_content": text},
        lambda text: {"tool_calls": [{"index": 1, "function": {"arguments": text}}]},
    ],
)
@pytest.mark.parametrize("text", ["for me. I hate you.", "\u597d\u3002I hate you."])
async def test_a_piece_that_begins_the_next_sentence_is_parted(delta: Callable[[str], JsonObject], text: str) -> None:
    """Nothing of that sentence leaves with the one before it."""
    answer = Answer(Reader())
    docs = await answer.feed(chunk(delta("Good ")), chunk(delta(text)))
    docs += await answer.settle()
    seen = [doc["choices"][0]["delta"] for doc in docs]
    first = text[: text.index("I")].rstrip()
    assert seen == [delta("Good "), delta(first), {}]
    assert [one.text for one in answer.reader.asked[0].passages] == ["Good " + first]


@pytest.mark.parametrize(
    "doc",
    [
        chunk({"role": "assistant", "content": "Good. I like"}),
        chunk({"content": "Good. I like"}, finish="stop"),
        chunk({"content": "Good. I like"}, usage={"prompt_tokens": 1}),
        chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"arguments": "Good. I like"}}]}),
        chunk({"content": "1.5"}),
        chunk({"content": "Good. "}),
    ],
)
async def test_a_piece_that_says_more_is_not_parted(doc: JsonObject) -> None:
    """Nothing may be told twice; and there must be something to part."""
    answer = Answer(Reader())
    assert await answer.feed(doc) == []
    assert len(await answer.settle()) == 1


async def test_hold_chars_and_hold_ms_end_a_segment_too() -> None:
    """Whichever comes first."""
    reader = Reader()
    answer = Answer(reader, {"stream": {"hold_chars": 10, "hold_ms": 400}})
    await answer.feed(chunk("0123456789"))
    assert len(answer.work) == 1
    await answer.feed(chunk("abc"))
    assert answer.watch.tick(0.1, answer.start) == pytest.approx(0.4)
    assert len(answer.work) == 1
    assert answer.watch.tick(0.4, answer.start) is None
    assert len(answer.work) == 2
    assert said(await answer.settle()) == "0123456789abc"


async def test_what_is_found_ends_the_stream_before_it() -> None:
    """What was cleared has left; of the segment nothing does."""
    answer = Answer(Reader())
    await answer.feed(chunk("I like you. "), chunk("I hate you. "), chunk("So there. "))
    docs = await answer.settle()
    assert said(docs) == "I like you. "
    assert ends(docs) == {0: "content_filter"}
    assert answer.watch.cut
    assert answer.report.hits == {Hit("completion", "hate", 6, "block", "classifier"): 1}
    assert docs[-1]["choices"][0]["content_filter_results"]["hate"] == {"filtered": True, "severity": "high"}


async def test_segments_leave_in_order() -> None:
    """Also where a later one is cleared first."""
    reader = Reader(open_=False)
    answer = Answer(reader)
    await answer.feed(chunk("One. "), chunk({}, finish="stop"))
    await answer.feed()
    assert answer.watch.ready(1.0) == []
    reader.may.set()
    docs = await answer.settle()
    assert (said(docs), ends(docs)) == ("One. ", {0: "stop"})


@pytest.mark.parametrize(("completion", "end"), [({}, "content_filter"), ({"on_error": "allow"}, "stop")])
async def test_a_crash_means_what_the_guard_says(completion: JsonObject, end: str) -> None:
    """Told in the report either way."""
    answer = Answer(Reader(), completion)
    await answer.feed(chunk("We crash. "), chunk({}, finish="stop"))
    await answer.feed()
    assert ends(await answer.settle()) == {0: end}
    assert answer.report.failures[("classifier", "error")] >= 1


@pytest.mark.parametrize(("on_timeout", "end"), [("cut", "content_filter"), ("pass", "stop")])
async def test_a_late_detector_means_what_the_guard_says(on_timeout: str, end: str) -> None:
    """Within its deadline."""
    answer = Answer(Reader(open_=False), {"deadline_ms": 30, "on_timeout": on_timeout})
    await answer.feed(chunk("Hello. "), chunk({}, finish="stop"))
    await answer.feed()
    assert ends(await answer.settle()) == {0: end}


async def test_redaction_takes_the_segment_out() -> None:
    """Nobody says where in it the harm is."""
    answer = Answer(Reader(), {"actions": {"hate": "redact"}})
    await answer.feed(chunk("I like you. "), chunk("I hate"), chunk(" you. "), chunk("Bye. "))
    assert said(await answer.settle()) == "I like you. [REDACTED]Bye. "


async def test_async_mode_lets_text_out_up_to_its_bound() -> None:
    """And holds what would go beyond."""
    reader = Reader(open_=False)
    answer = Answer(reader, {"stream": {"mode": "async", "hold_chars": 12}})
    assert said(await answer.feed(chunk("I hate you"))) == "I hate you"
    assert await answer.feed(chunk(" very much.")) == []
    reader.may.set()
    docs = await answer.settle()
    assert (said(docs), ends(docs)) == ("", {0: "content_filter"})


async def test_in_async_mode_nothing_overtakes_what_waits() -> None:
    """Neither where what came first has been cleared, so that there would be room again."""
    reader = Reader(open_=False)
    answer = Answer(reader, {"stream": {"mode": "async", "hold_chars": 12}})
    assert said(await answer.feed(chunk("I like you."))) == "I like you."
    await asyncio.sleep(0)
    first, reader.may = reader.may, asyncio.Event()
    assert await answer.feed(chunk(" So much.")) == []
    first.set()
    await answer.work[0]
    assert await answer.feed(chunk(" Ok")) == []
    assert await answer.feed() == []
    reader.may.set()
    assert said(await answer.settle()) == " So much. Ok"


async def test_of_a_plain_answer_each_choice_stands_for_itself() -> None:
    """The one that was found out is emptied."""
    answer = Answer(Reader(), stream=False, n=2)
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for index, text in enumerate(("I like you", "I hate you"))
    ]
    await answer.feed({"id": "c", "choices": choices})
    (doc,) = await answer.settle()
    assert [one["message"]["content"] for one in doc["choices"]] == ["I like you", ""]
    assert ends([doc]) == {0: "stop", 1: "content_filter"}


async def test_documents_and_the_question_go_along() -> None:
    """For whoever holds an answer against them."""
    reader = Reader()
    fields: dict[str, Any] = {
        "documents": [{"title": "T", "text": "body"}, "odd"],
        "messages": [{"role": "user", "content": "why?"}],
    }
    answer = Answer(reader, **fields)
    await answer.feed(chunk("So. "))
    await answer.settle()
    assert (reader.asked[0].documents, reader.asked[0].question) == (("T\nbody",), "why?")


async def test_what_says_nothing_does_not_wait() -> None:
    """Roles and usage."""
    answer = Answer(Reader())
    docs = await answer.feed(chunk({"role": "assistant", "content": ""}), {"choices": [], "usage": {}})
    assert len(docs) == 2


async def test_reading_stops_while_much_waits() -> None:
    """An upstream that is faster than the detectors is not kept in memory."""
    answer = Answer(Reader(open_=False), {"stream": {"hold_chars": 1}})
    for _ in range(20):
        await answer.feed(chunk("word"))
    assert answer.watch.full
    for task in answer.work:
        task.cancel()
    await asyncio.gather(*answer.work, return_exceptions=True)
