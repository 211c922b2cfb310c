"""Stages 6 and 9: is the prompt safe to send, and the completion safe to pass on?

The stage knows when to look and what a verdict means for the request; what is unsafe is the business of the guard
behind `Policy` (`app/safety`). A model without a guard costs nothing: none of this is called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from time import perf_counter, time
from typing import Any, Protocol

import orjson

from app.config import Guard as Settings
from app.errors import CONTENT_FILTER, GatewayError
from app.exchange import Batch, Call, Event, JsonObject
from app.pipeline.progress import GUARD, RELAY, Progress
from app.pipeline.report import Ask, Report
from app.tasks import TaskGroup

Start = Callable[[Coroutine[Any, Any, None]], object]
"""Begins work that goes on beside the request."""


class Prompt(Protocol):
    """A prompt that was looked at."""

    call: Call
    """The call to make: what was redacted is not in it."""
    results: JsonObject
    """The findings in Azure's shape (`content_filter_results`)."""
    safe_text: str | None
    """What is answered when it is refused; None for an error."""
    seen: bool
    """Whether anybody looks at prompts."""


class Watch(Protocol):
    """Looks at one answer while it comes."""

    cut: bool
    """Whether the answer has to end: what `feed` returned last was its end."""

    def feed(self, batch: Batch | None, now: float) -> Batch:
        """What may go to the caller now that this has come; None is the answer's end. `now` is the clock's reading."""

    def glance(self, piece: bytes, now: float) -> bytes | None:
        """The same for server-sent events that are text and nothing else, in the usual case; None changes nothing."""


class SlowWatch(Protocol):
    """Looks at one answer while it comes, and has others look at it who take their time."""

    cut: bool
    """Whether the answer has to end: what `ready` returned last was its end."""

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""

    @property
    def full(self) -> bool:
        """Whether so much waits that no more should be read."""

    async def feed(self, batch: Batch | None, now: float, start: Start) -> None:
        """Take in what has come; None is the answer's end. `start` begins work that goes on beside."""

    def tick(self, now: float, start: Start) -> float | None:
        """Time has passed; returns when it should be told so again."""

    def ready(self, now: float) -> Batch:
        """What may go to the caller now."""


class Policy(Protocol):
    """A guard as it holds for one tenant."""

    @property
    def name(self) -> str:
        """The guard's name."""

    @property
    def asks(self) -> bool:
        """Whether some detector asks a model of this gateway, on the account of whose text it is."""

    async def prompt(self, call: Call, report: Report) -> Prompt:
        """Look at a prompt; the report is told what was found, and that it is refused where it is."""

    def watch(self, prompt: Any, report: Report) -> Watch | None:
        """Somebody to watch the answer to a prompt of `prompt`'s; None where nobody needs to."""

    def slow_watch(self, prompt: Any, report: Report) -> SlowWatch | None:
        """The same where detectors take their time; None where `watch` will do."""


class Guards(Protocol):
    """All guards."""

    def of(self, settings: Settings, tenant: str) -> Policy:
        """The policy that these settings mean for a tenant."""


class Source(Protocol):
    """An answer that comes in batches."""

    @property
    def first(self) -> Batch:
        """The first events."""

    async def more(self, outlet: Any = None) -> Batch:
        """The next events; empty at the end. What nobody has to look at may go to the outlet."""


async def check(policy: Policy, call: Call, progress: Progress, ask: Ask | None = None) -> Checked:
    """Look at the prompt. Raises `GatewayError` `content_filter` where it is blocked and no safe text is to be told.

    `ask` is for detectors that are models of this gateway.
    """
    report, began = Report(policy.name), progress.resumed
    progress.report = report
    report.ask = ask
    prompt = await policy.prompt(call, report)
    progress.call = prompt.call
    progress.mark(GUARD)
    if prompt.seen:
        report.looked.append(("prompt", began, progress.resumed))
    if report.refused:
        progress.end()
    if report.refused and prompt.safe_text is None:
        param = next((name for name in ("prompt", "input") if name in call.body), "messages")
        error = GatewayError(CONTENT_FILTER, "The prompt was blocked by the content policy of this model.", param=param)
        error.inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": prompt.results}
        raise error
    return Checked(policy, prompt, report, progress)


class Checked:
    """A request whose prompt may be sent, or is answered here."""

    __slots__ = ("_policy", "_progress", "_prompt", "_report", "call", "instead")

    def __init__(self, policy: Policy, prompt: Prompt, report: Report, progress: Progress) -> None:
        self._policy = policy
        self._prompt = prompt
        self._report = report
        self._progress = progress
        self.call = prompt.call
        self.instead = _told(prompt, progress.request_id) if report.refused else None
        """The answer in place of an upstream's; None where the upstream is asked."""

    async def through(self, answer: Source) -> Source:
        """The answer as the caller may see it."""
        watching = ("completion", self._progress.resumed, 0.0)
        slow = self._policy.slow_watch(self._prompt, self._report)
        if slow is not None:
            raced = Raced(answer, slow, self._progress)
            self._report.beside = raced.close
            self._report.looked.append(watching)
            await raced.begin()
            return raced
        watch = self._policy.watch(self._prompt, self._report)
        if watch is None:
            return answer
        self._report.looked.append(watching)
        guarded = Guarded(answer, watch, self._progress)
        guarded.first = guarded.seen(answer.first) or await guarded.more()
        return guarded


def _told(prompt: Prompt, request_id: str) -> Batch:
    """The answer to a prompt that was refused with a text: one choice, ended by the filter; nothing was asked."""
    call, text = prompt.call, prompt.safe_text
    chat = "messages" in call.body
    said: JsonObject = {"text": text}
    if chat:
        said = {"delta" if call.stream else "message": {"role": "assistant", "content": text}}
    kind = "chat.completion.chunk" if chat and call.stream else "chat.completion" if chat else "text_completion"
    doc: JsonObject = {
        "id": request_id,
        "object": kind,
        "created": int(time()),
        "model": call.model,
        "choices": [{"index": 0, **said, "logprobs": None, "finish_reason": "content_filter"}],
        "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": prompt.results}],
    }
    if not call.stream:
        doc["usage"] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return [Event(orjson.dumps(doc), doc)]


class Guarded:
    """An answer from upstream as the caller may see it. What upstream sent is counted before anybody looks at it.

    It stands between the answer and the caller's socket, too: what a glance is enough for leaves past `more`.
    """

    __slots__ = ("_answer", "_ended", "_outlet", "_progress", "_watch", "first")

    def __init__(self, answer: Source, watch: Watch, progress: Progress) -> None:
        self._answer = answer
        self._watch = watch
        self._progress = progress
        self._outlet: Any = None
        self._ended = False
        self.first: Batch = []

    async def more(self, outlet: Any = None) -> Batch:
        """The next events that may be seen; empty at the end."""
        self._outlet = outlet
        through = None if outlet is None else self
        while not self._ended:
            seen = self.seen(await self._answer.more(through))
            if seen:
                return seen
        return []

    @property
    def full(self) -> bool:
        """Whether the caller's socket takes nothing at present."""
        full: bool = self._outlet.full
        return full

    def relay(self, piece: bytes) -> bool:
        """Send on what may be seen of a piece; False, and nothing has happened, where a glance is not enough."""
        seen = self._watch.glance(piece, perf_counter())
        if seen:
            self._outlet.relay(seen)
        return seen is not None

    def seen(self, batch: Batch) -> Batch:
        """What may be seen of the next events from upstream; none are its end."""
        progress = self._progress
        progress.see(batch)
        for event in batch:
            event.tokens, event.usage = 0, None
        seen = self._watch.feed(batch or None, progress.resumed)
        self._ended = not batch or self._watch.cut
        return seen


class Raced:
    """As `Guarded`, before detectors that take their time: reading goes on while they look, and so does the clock."""

    __slots__ = (
        "_answer",
        "_arrived",
        "_ended",
        "_failure",
        "_loop",
        "_progress",
        "_reading",
        "_running",
        "_tasks",
        "_watch",
        "first",
    )

    def __init__(self, answer: Source, watch: SlowWatch, progress: Progress) -> None:
        self._answer = answer
        self._watch = watch
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskGroup("guard")
        self._running: set[asyncio.Task[None]] = set()
        self._reading: asyncio.Task[None] | None = None
        self._arrived: list[Batch] = []
        self._failure: GatewayError | None = None
        self._ended = False
        self.first: Batch = []

    async def begin(self) -> None:
        """Wait for the first events that may be seen."""
        self._arrived.append(self._answer.first)
        self.first = await self.more()

    async def more(self, outlet: Any = None) -> Batch:  # noqa: ARG002 - as above
        """The next events that may be seen; empty at the end. Raises `GatewayError` when the stream breaks."""
        watch, progress = self._watch, self._progress
        while not watch.cut:
            await self._take_in()
            out = watch.ready(self._loop.time())
            if out:
                return out
            if self._failure is not None:
                raise self._failure
            if self._ended and watch.idle:
                break
            if not self._ended and self._reading is None and not watch.full:
                self._reading = self._start(self._read())
            due = watch.tick(self._loop.time(), self._start)
            timeout = None if due is None else max(0.0, due - self._loop.time())
            progress.mark(RELAY)
            done, _ = await asyncio.wait(self._running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            progress.resume()
            self._running -= done
            for task in done:
                task.result()
        self.close()
        return []

    def close(self) -> None:
        """End what goes on beside, without waiting for it."""
        for task in self._running:
            task.cancel()
        self._running.clear()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._tasks.spawn("look", work)
        self._running.add(task)
        return task

    async def _read(self) -> None:
        try:
            batch = await self._answer.more()
            self._arrived.append(batch)  # only now: the list may be another one by then
        except GatewayError as error:
            self._failure = error

    async def _take_in(self) -> None:
        if self._reading is not None and self._reading.done():
            self._reading = None
        arrived, self._arrived = self._arrived, []
        for batch in arrived:
            self._progress.see(batch)
            for event in batch:
                event.tokens, event.usage = 0, None
            self._ended = not batch
            await self._watch.feed(batch or None, self._loop.time(), self._start)
