"""An answer as the caller may see it: every text of every choice goes through a window of its own.

`content`, reasoning, refusals, the arguments of each tool call and whatever other text a piece of an answer has: what a
text is called does not matter, where it stands tells it apart. A plain answer is a stream of one event.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final

import orjson

from app.exchange import Batch, Call, Event, JsonObject, Operation
from app.pipeline.report import Hit, Report
from app.safety.actions import BLOCK, results
from app.safety.stage import Stage
from app.safety.texts import HOLDERS, PLAIN, Path, number_of, texts
from app.safety.vault import Restorer, Vault
from app.safety.watched import Alike, Watched
from app.safety.window import Window

_NAMES: Final = frozenset(("name",))
"""Names whose values come whole and must stay so."""
_ESCAPED: Final = "arguments"
"""The name of a text that is JSON: what it says stands in it with escapes."""
_REVEALING: Final = ("logprobs", "token_ids", "prompt_logprobs", "prompt_token_ids")
"""What repeats the text in another form: taken out of an answer whose text is watched."""
_BESIDES: Final = frozenset((*_REVEALING, *(name for name in HOLDERS if name != "delta")))
"""What says something beside a delta."""
_LESSONS: Final = 8
"""Events whose shape is learnt at most: a stream in which each is another is read."""
_BASE: Final = ("id", "object", "created", "model", "system_fingerprint")
_FILTERED: Final = "content_filter"
MOST_TEXTS: Final = 4096
"""Texts of one answer that are told apart; an answer with more is stopped."""


class Answers:
    """Watches one answer: all its choices."""

    __slots__ = (
        "_alike", "_base", "_call", "_ended", "_lessons", "_prompt_results", "_report", "_scanner", "_severities",
        "_since", "_stage", "_stopped", "_texts", "_vault", "cut",
    )  # fmt: skip

    def __init__(
        self, call: Call, stage: Stage | None, report: Report, vault: Vault | None, prompt_results: JsonObject
    ) -> None:
        self._call = call
        self._stage = stage
        self._scanner = stage.scanner if stage is not None else None
        self._report = report
        self._vault = vault
        self._prompt_results = prompt_results
        self._texts: dict[Path, Watched] = {}
        self._severities: dict[int, dict[str, int]] = {}
        self._ended: set[int] = set()
        self._base: JsonObject = {}
        self._since = 0.0
        self._stopped = False
        self._alike: Alike | None = None  # the events that a glance is enough for
        self._lessons = _LESSONS
        self.cut = False
        """Whether the answer has to end."""

    def feed(self, batch: Batch | None, now: float) -> Batch:
        """What may be seen now that this has come; None is the answer's end."""
        if batch is None:
            out = self._rest()
        elif len(batch) == 1:
            out = self._event(batch[0])
        else:
            out = []
            for event in batch:
                out += self._event(event)
                if self.cut:
                    break
        self._clock(now, released=bool(out))
        return out

    def glance(self, piece: bytes, now: float) -> bytes | None:
        """What may be seen of events that are alike, in the usual case that nothing is found; None changes nothing."""
        alike = self._alike
        if alike is None or self._stopped:
            return None
        seen = alike.glance(piece)
        if seen is not None:
            self._clock(now, released=bool(seen))
        return seen

    def note(self, index: int, category: str, severity: int) -> None:
        """Somebody else has found something in a choice."""
        severities = self._severities.setdefault(index, {})
        severities[category] = max(severity, severities.get(category, 0))

    def filter(self, choice: JsonObject) -> None:
        """End one choice of a plain answer by the filter."""
        self._filter(choice)

    def stop_at(self, index: int) -> Batch:
        """The end of a stream because of what somebody else has found in this choice."""
        empty: JsonObject = {"text": ""} if self._call.operation is Operation.COMPLETION else {"delta": {}}
        self._ended.clear()
        return self._stop(Event(b"", {**self._base}), [{"index": index, **empty}])

    def _clock(self, now: float, *, released: bool) -> None:
        """Keep the longest time that anything waited."""
        if self._since:
            if not released:
                return
            self._report.held = max(self._report.held, now - self._since)
            self._since = 0.0
        for text in self._texts.values():
            if text.window is not None and text.window.held:
                self._since = now
                break

    def _event(self, event: Event) -> Batch:
        doc = event.doc
        choices = doc.get("choices")
        if not choices:
            return [event]
        if not self._call.stream:
            return [event] if self._says_nothing(choices) else self._any(event, choices)
        if len(choices) == 1 and self._base:
            choice = choices[0]
            delta = choice.get("delta")
            if delta and len(delta) == 1 and not choice.get("finish_reason") and not _says_more(choice):
                content = delta.get("content")
                if type(content) is str:
                    text = self._texts.get((choice.get("index"), "content"))
                    if text is not None:
                        return self._piece(event, choice, delta, content, text)
        return self._any(event, choices)

    def _says_nothing(self, choices: list[JsonObject]) -> bool:
        """Whether a plain answer of the usual form may leave as it is; False says nothing."""
        stage, scanner = self._stage, self._scanner
        if stage is None or scanner is None or self._prompt_results or self._vault is not None:
            return False
        if stage.actions.annotates:
            return False
        for choice in choices:
            for name in _REVEALING:
                if choice.get(name) is not None:
                    return False
        return all(path[-1] != _ESCAPED and scanner.silent(text) for path, text in texts({"choices": choices}))

    def _piece(self, event: Event, choice: JsonObject, delta: JsonObject, content: str, text: Watched) -> Batch:
        """What most events are: more of one text."""
        if self._lessons > 0:
            self._lessons -= 1
            self._alike = Alike.of(event.data, text)
        shown = text.feed(content)
        window = text.window
        if window is not None and window.hits:
            self._take(choice["index"], window)
        if self._stopped:
            delta["content"] = shown
            return self._stop(event, [choice])
        if shown == content:
            return [event]
        if not shown and "usage" not in event.doc:
            return []
        delta["content"] = shown
        event.data = orjson.dumps(event.doc)
        return [event]

    def _any(self, event: Event, choices: list[JsonObject]) -> Batch:
        """Any event, in whatever form its texts come."""
        doc, stream = event.doc, self._call.stream
        changed = False
        if not self._base:
            self._base = {name: doc[name] for name in _BASE if name in doc}
            if self._prompt_results:
                doc["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": self._prompt_results}]
                changed = True
        kept: list[JsonObject] = []
        for choice in choices:
            altered = self._choice(choice, final=not stream)
            changed = changed or altered
            if self._stopped:
                if stream:
                    return self._stop(event, [*kept, choice])
                self._filter(choice)
                self._stopped = False
            if not altered or not stream or _says_something(choice):
                kept.append(choice)
        if not changed:
            return [event]
        if not kept and "usage" not in doc:
            return []
        doc["choices"] = kept
        event.data = orjson.dumps(doc)
        return [event]

    def _choice(self, choice: JsonObject, *, final: bool) -> bool:
        """Look at one choice; whether it was altered."""
        index = choice.get("index", 0)
        altered = False
        for name in _REVEALING if self._scanner is not None else ():
            if choice.get(name) is not None:
                choice[name] = None
                altered = True
        for name in HOLDERS:
            value = choice.get(name)
            if value is not None:
                path: Path = (index, "text") if name == "text" else (index,)
                altered = self._inside(choice, name, value, path, final=final) or altered
        if self._stopped:
            return True
        ending = final or bool(choice.get("finish_reason"))
        if ending and not final:
            altered = self._flush(choice, index) or altered
            self._ended.add(index)
        if ending and self._stage is not None and self._stage.actions.annotates:
            choice["content_filter_results"] = self._results(index, ())
            altered = True
        return altered

    def _inside(self, holder: Any, place: int | str, value: Any, path: Path, *, final: bool) -> bool:
        """Look at every text in a value; whether any was altered. What stands behind one that stops is taken out."""
        if type(value) is str:
            if place in PLAIN:
                return False
            holder[place] = shown = self._show(path, value, final=final or place in _NAMES)
            return shown != value or self._stopped
        altered = False
        if type(value) is dict:
            for name in list(value):
                if self._stopped:
                    del value[name]
                else:
                    altered = self._inside(value, name, value[name], (*path, name), final=final) or altered
        elif type(value) is list:
            for position, one in enumerate(value):
                altered = self._inside(value, position, one, (*path, number_of(one, position)), final=final) or altered
                if self._stopped:
                    del value[position + 1 :]
                    break
        return altered

    def _show(self, path: Path, piece: str, *, final: bool) -> str:
        """What may be seen of one text."""
        text = self._texts.get(path)
        if text is None:
            text = self._begin(path)
            if not final:
                self._texts[path] = text
        shown = text.feed(piece, final=final)
        window = text.window
        if window is not None and window.hits:
            self._take(path[0], window)
        if len(self._texts) > MOST_TEXTS:
            self._stopped = True
        return shown

    def _begin(self, path: Path) -> Watched:
        escaped = path[-1] == _ESCAPED
        stage, scanner = self._stage, self._scanner
        window = None
        if stage is not None and scanner is not None:
            window = Window(scanner, stage.actions.of_hits, escaped=escaped, passing=stage.passing)
        values = self._vault.values if self._vault is not None else None
        return Watched(window, Restorer(values, escaped=escaped) if values else None)

    def _take(self, index: int | str, window: Window) -> None:
        """Tell what a window has found."""
        stage = self._stage
        if stage is None:
            raise AssertionError("a window belongs to a stage")
        for match in window.hits:
            self.note(int(index), match.category, match.severity)
            action = stage.actions.of(match.category, match.severity)
            if action is not None:
                self._report.add(Hit("completion", match.category, match.severity, action, match.detector))
        window.hits.clear()
        self._stopped = self._stopped or window.cut

    def _flush(self, choice: JsonObject, index: int) -> bool:
        """The choice has come to its own end: nothing that waits can become anything any more."""
        flushed = False
        for path, text in self._texts.items():
            if path[0] == index:
                rest = text.feed("", final=True)
                if rest:
                    _append(choice, path, rest)
                    flushed = True
                window = text.window
                if window is not None and window.hits:
                    self._take(index, window)
        return flushed

    def _rest(self) -> Batch:
        """What still waits when an answer ends without saying so."""
        choices: list[JsonObject] = []
        for index in sorted({int(path[0]) for path in self._texts} - self._ended):
            choice: JsonObject = {"index": index, "finish_reason": None}
            flushed = self._flush(choice, index)
            if self._stopped:
                self._filter(choice)
                return self._stop(Event(b"", {**self._base}), [*choices, choice])
            if flushed:
                choices.append(choice)
        if not choices:
            return []
        doc = {**self._base, "choices": choices}
        return [Event(orjson.dumps(doc), doc)]

    def _stop(self, event: Event, choices: list[JsonObject]) -> Batch:
        """The end of a stream in which something was found: every choice that is open is ended by the filter."""
        self.cut = self._report.cut = True
        doc = event.doc
        stopped = choices[-1]
        self._filter(stopped)
        self._ended.add(stopped.get("index", 0))
        doc["choices"] = choices
        doc.pop("usage", None)
        event.data = orjson.dumps(doc)
        rest = [index for index in range(self._call.choices) if index not in self._ended]
        if not rest:
            return [event]
        empty: JsonObject = {"delta": {}} if "delta" in stopped else {"text": ""}
        others = [{"index": index, **empty, "finish_reason": _FILTERED} for index in rest]
        after = {**self._base, "choices": others}
        return [event, Event(orjson.dumps(after), after)]

    def _filter(self, choice: JsonObject) -> None:
        """One choice is ended by the filter, with the guard's own text where there is one."""
        self._report.cut = True
        stage = self._stage
        choice["finish_reason"] = _FILTERED
        index = choice.get("index", 0)
        choice["content_filter_results"] = self._results(index, self._blocked(index))
        if stage is not None and stage.safe_text is not None:
            _append(choice, (index, "text") if "text" in choice else (index, "content"), stage.safe_text)

    def _blocked(self, index: int) -> list[str]:
        stage, severities = self._stage, self._severities.get(index, {})
        return [
            name for name, level in severities.items() if stage is not None and stage.actions.of(name, level) == BLOCK
        ]

    def _results(self, index: int, blocked: Iterable[str]) -> JsonObject:
        looked_for = self._stage.looks_for if self._stage is not None else ()
        return results(self._severities.get(index, {}), blocked, looked_for)


def _append(choice: JsonObject, path: Path, text: str) -> None:
    """Add text to what a path leads to inside a choice, making the way there where it is missing.

    Of an upstream that says text or an object where it said a list before, one path leads nowhere: its text is left
    out.
    """
    node: Any = choice
    names = path[1:]
    if names != ("text",):
        node = choice["message"] if "message" in choice else choice.setdefault("delta", {})
    for name, following in pairwise(names):
        if type(node) is list:
            found = next((one for one in node if type(one) is dict and one.get("index") == name), None)
            if found is None:
                found = {"index": name}
                node.append(found)
            node = found
        elif type(node) is dict and type(name) is str:
            inner = node.get(name)
            if inner is None:
                inner = node[name] = [] if type(following) is int else {}
            node = inner
    last = names[-1]
    if type(node) is list:
        node.append(text)
    elif type(node) is dict and type(last) is str and type(node.get(last) or "") is str:
        node[last] = (node.get(last) or "") + text


def _says_more(choice: JsonObject) -> bool:
    """Whether a piece says, or repeats, anything beside its delta."""
    return not _BESIDES.isdisjoint([name for name, value in choice.items() if value is not None])


def _says_something(choice: JsonObject) -> bool:
    """Whether a piece still says anything after it was looked at."""
    if choice.get("finish_reason") or choice.get("text"):
        return True
    delta = choice.get("delta")
    return delta is not None and any(value for name, value in delta.items() if name != "index")
