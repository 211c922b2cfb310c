"""An answer that waits for an ensemble: held to the end of a sentence, `hold_chars` or `hold_ms`, then asked about.

What came since the last question is a *segment*. Segments are asked about at the same time and leave in order, so text
waits for `hold_ms` and the detectors' deadline at most. In `async` mode text leaves at once, up to `hold_chars` beyond
what is cleared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from copy import deepcopy
from typing import Any, Final

import orjson

from app.exchange import Batch, Call, Event, JsonObject
from app.pipeline.report import Hit, Report
from app.safety.actions import BLOCK, REDACT
from app.safety.answers import Answers
from app.safety.detector import Inspection, Passage
from app.safety.ensemble import Ensemble, Verdict
from app.safety.stage import Stage
from app.safety.texts import Path, put, texts

BEFORE: Final = 600
"""Characters of the same text in front of a segment that detectors get with it."""
MOST_ASKED: Final = 4
"""Segments that are asked about at a time because a sentence ended; one whose time is up is asked about at once."""
MOST_WAITING: Final = 16
"""Segments that wait before no more is read from the upstream."""
_ENDS: Final = frozenset(".!?\n\u3002\uff01\uff1f")
_WIDE: Final = frozenset("\n\u3002\uff01\uff1f")
"""Those that end a sentence whatever follows; the others do before a space."""

Start = Callable[[Coroutine[Any, Any, None]], object]


class Segment:
    """Some events, and what was said in them."""

    __slots__ = ("asked", "clear", "events", "since", "size", "stopped", "texts")

    def __init__(self, now: float) -> None:
        self.events: Batch = []
        self.texts: dict[Path, str] = {}
        self.size = 0
        self.since = now
        self.asked = False
        self.clear = False
        self.stopped: int | None = None
        """The choice in which something was found that ends the answer."""


class Cleared:
    """Watches one answer, and has an ensemble look at it too."""

    def __init__(self, answers: Answers, stage: Stage, ensemble: Ensemble, call: Call, report: Report) -> None:
        self._answers = answers
        self._stage = stage
        self._ensemble = ensemble
        self._call = call
        self._report = report
        self._segments: deque[Segment] = deque()
        self._before: dict[Path, str] = {}
        self._ready: Batch = []
        self._ended = False
        self._documents, self._question = asked(call)
        self.cut = False
        """Whether the answer has to end."""

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._segments

    @property
    def full(self) -> bool:
        """Whether so much waits that no more should be read."""
        return len(self._segments) >= MOST_WAITING

    async def feed(self, batch: Batch | None, now: float, start: Start) -> None:
        """Take in what has come; None is the answer's end. `start` begins a question."""
        out = self._answers.feed(batch, now)
        for event in out:
            for part in (event,) if self._stage.passing or not self._call.stream else _parted(event):
                self._take(part, now, start)
        if batch is None or self._answers.cut:
            self._ended = True
            self._close(start)

    def tick(self, now: float, start: Start) -> float | None:
        """Time has passed; returns when the segment that is open has waited long enough, None where none is."""
        last = self._segments[-1] if self._segments else None
        if last is None or last.asked:
            return None
        due = last.since + self._stage.hold_seconds
        if now < due:
            return due
        self._close(start)
        return None

    def ready(self, now: float) -> Batch:
        """What may leave now."""
        segments = self._segments
        while segments and segments[0].clear:
            segment = segments.popleft()
            self._report.held = max(self._report.held, now - segment.since)
            if segment.stopped is not None:
                self._stop(segment)
                break
            self._ready += segment.events
        out, self._ready = self._ready, []
        return out

    def _take(self, event: Event, now: float, start: Start) -> None:
        said = texts(event.doc)
        if not said and not self._segments:
            self._ready.append(event)
            return
        if not self._segments or self._segments[-1].asked:
            self._segments.append(Segment(now))
        segment = self._segments[-1]
        ends = not self._call.stream
        for path, text in said:
            segment.texts[path] = segment.texts.get(path, "") + text
            segment.size += len(text)
            ends = ends or not _ENDS.isdisjoint(text)
        if self._passes():
            self._ready.append(event)
        else:
            segment.events.append(event)
        if segment.size >= self._stage.hold_chars or (ends and self._asked() < MOST_ASKED):
            self._close(start)

    def _passes(self) -> bool:
        """Whether what has come may leave before it is cleared: not where something in front of it still waits."""
        if not self._stage.passing or any(one.events for one in self._segments):
            return False
        return sum(one.size for one in self._segments) <= self._stage.hold_chars

    def _asked(self) -> int:
        return sum(one.asked for one in self._segments)

    def _close(self, start: Start) -> None:
        """Ask about what is open."""
        segment = self._segments[-1] if self._segments else None
        if segment is None or segment.asked:
            return
        segment.asked = True
        paths = [path for path, text in segment.texts.items() if text.strip()]
        if not paths:
            segment.clear = True
            return
        passages = tuple(Passage(segment.texts[path], "assistant") for path in paths)
        before = self._before.get(paths[0], "")
        for path in paths:
            self._before[path] = (self._before.get(path, "") + segment.texts[path])[-BEFORE:]
        inspection = Inspection("completion", passages, before, self._documents, self._question, ask=self._report.ask)
        start(self._ask(segment, paths, inspection))

    async def _ask(self, segment: Segment, paths: list[Path], inspection: Inspection) -> None:
        verdict = await self._ensemble.check(inspection)
        self._judge(segment, paths, verdict)
        segment.clear = True

    def _judge(self, segment: Segment, paths: list[Path], verdict: Verdict) -> None:
        """What a verdict means for a segment."""
        for detector, reason in verdict.failed:
            self._report.fail(detector, reason)
        if self._ensemble.unsafe(verdict):
            segment.stopped = int(paths[0][0])
        actions = self._stage.actions
        for detector, finding in verdict.told:
            path = paths[finding.passage or 0]
            index = int(path[0])
            self._answers.note(index, finding.category, finding.severity)
            action = actions.of(finding.category, finding.severity)
            if action is None:
                continue
            self._report.add(Hit("completion", finding.category, finding.severity, action, detector))
            if action == BLOCK:
                segment.stopped = index
            elif action == REDACT:
                _redact(segment, path)

    def _stop(self, segment: Segment) -> None:
        """The answer ends here. Of a plain answer each choice stands for itself; a stream ends as a whole."""
        stopped = segment.stopped or 0
        self.cut = self._report.cut = True
        self._segments.clear()
        if not self._call.stream:
            (event,) = segment.events
            for choice in event.doc["choices"]:
                if choice.get("index", 0) == stopped:
                    for path, _ in texts({"choices": [choice]}):
                        put(choice, path, "")
                    self._answers.filter(choice)
            event.data = orjson.dumps(event.doc)
            self._ready.append(event)
            return
        self._ready += self._answers.stop_at(stopped)


def _parted(event: Event) -> tuple[Event, ...]:
    """An event that ends a sentence and begins another as two events: a sentence is asked about as a whole.

    Only where nothing but the text is in it, for nothing may be told twice.
    """
    doc = event.doc
    said = texts(doc)
    if len(said) != 1 or len(doc["choices"]) != 1 or doc.get("usage") or "prompt_filter_results" in doc:
        return (event,)
    ((path, text),) = said
    at = _sentence_end(text)
    (choice,) = doc["choices"]
    if not text[at:].strip() or not at or _says_more(choice):
        return (event,)
    first = deepcopy(doc)
    put(first["choices"][0], path, text[:at])
    put(choice, path, text[at:])
    event.data = orjson.dumps(doc)
    return Event(orjson.dumps(first), first, hidden=event.hidden), event


def _sentence_end(text: str) -> int:
    """Where the last sentence that ends inside a text is over; 0 where none does."""
    follows = "."
    for at in range(len(text) - 1, -1, -1):
        sign = text[at]
        if sign in _WIDE or (sign in _ENDS and follows.isspace()):
            return at + 1
        follows = sign
    return 0


def _says_more(choice: JsonObject) -> bool:
    """Whether a choice has more to it than one text: a role, an id, the end."""
    if any(value is not None for name, value in choice.items() if name not in ("index", "delta", "text")):
        return True
    node = choice.get("delta") or {}
    while type(node) is dict and len(node) == 1:
        (node,) = node.values()
        if type(node) is list and len(node) == 1 and type(node[0]) is dict:
            node = {name: value for name, value in node[0].items() if name != "index"}
    return bool(node) and type(node) is not str


def _redact(segment: Segment, path: Path) -> None:
    """One text of a segment gives way to a placeholder."""
    shown = "[REDACTED]"
    for event in segment.events:
        for choice in event.doc["choices"]:
            if choice.get("index", 0) == path[0] and put(choice, path, shown):
                shown = ""
                event.data = orjson.dumps(event.doc)


def asked(call: Call) -> tuple[tuple[str, ...], str]:
    """The documents that an answer is held against, and the last thing that the user said."""
    body = call.body
    documents = tuple(
        "\n".join(str(one[name]) for name in ("title", "text") if type(one.get(name)) is str)
        for one in body.get("documents") or ()
        if type(one) is dict
    )
    for message in reversed(body.get("messages") or ()):
        if type(message) is dict and message.get("role") == "user" and type(message.get("content")) is str:
            return documents, message["content"]
    prompt = body.get("prompt")
    return documents, prompt if type(prompt) is str else ""
