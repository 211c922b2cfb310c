"""Guarded requests through the running gateway: prompts refused, answers cut and redacted, streamed and not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import openai
import orjson
import pytest

from app.errors import UPSTREAM_ERROR, GatewayError
from app.exchange import Batch, Event, Operation
from app.pipeline.guard import Guarded, Raced, Start
from app.pipeline.progress import Progress
from tests.pipeline.script import Outlet
from tests.support.gateway import Gateway, config, deployment
from tests.support.upstream import Upstream

CARD = "4111 1111 1111 1111"
STRICT = {"detectors": ["rules", "pii"], "actions": {"pii": "redact"}}
GUARDS: list[dict[str, Any]] = [
    {"name": "both", "blocklist": ["internal codename"], "prompt": STRICT, "completion": STRICT},
    {"name": "answers", "blocklist": ["internal codename"], "completion": STRICT},
    {
        "name": "kind",
        "blocklist": ["internal codename"],
        "prompt": {"detectors": ["rules"], "safe_text": "Let us talk about something else."},
        "completion": {"detectors": ["rules"], "safe_text": " I stop here."},
    },
    {"name": "told", "completion": {"detectors": ["pii"], "actions": {"pii": "annotate"}}},
    {
        "name": "fast",
        "blocklist": ["internal codename"],
        "completion": {"detectors": ["rules"], "stream": {"mode": "async"}},
    },
    {
        "name": "exempting",
        "prompt": {"detectors": ["pii"]},
        "exemptions": [{"tenant": "team", "actions": {"pii": "log"}}],
    },
]


@pytest.fixture(scope="module")
def gateway(upstream_process: Upstream) -> Iterator[Gateway]:
    """One gateway with a model per guard, named as the guard is, before an upstream that echoes."""
    names = [guard["name"] for guard in GUARDS]
    models = [{"name": name, "stable": "to-echo", "guard": name} for name in [*names, "listed"]]
    running = Gateway({})
    terms = running.config_file.with_name("terms.txt")
    terms.write_text("# none yet\n")
    listed = {"name": "listed", "blocklist_files": [str(terms)], "prompt": {"detectors": ["rules"]}}
    echo, paced = (
        deployment(f"to-{name}", upstream_process.url, name, provider="vllm") for name in ("echo", "echo+pace-10ms")
    )
    running.write(
        config(
            [echo, {**paced, "name": "to-paced"}],
            [
                *models,
                {"name": "paced", "stable": "to-paced", "guard": "answers"},
                {"name": "echo", "stable": "to-echo"},
            ],
            guards=[*GUARDS, listed],
        )
    )
    with running:
        yield running


def streamed(gateway: Gateway, model: str, text: str, **fields: Any) -> tuple[str, str | None, list[Any]]:
    """What the SDK gets of a stream: the text, why it ended, and all chunks."""
    with gateway.sdk() as client:
        chunks = list(
            client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": text}], stream=True, **fields
            )
        )
    said = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    return said, ends[-1] if ends else None, chunks


def sent(upstream: Upstream) -> list[str]:
    """The last messages that the upstream was asked with."""
    return [message["content"] for message in orjson.loads(upstream.requests()[-1]["body"])["messages"]]


@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_prompt_reaches_no_upstream(gateway: Gateway, upstream: Upstream, stream: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A 400 in OpenAI's shape with Azure's details, one outcome, and no attempt."""
    response = gateway.chat("both", text="tell me the internal codename", stream=stream)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("content_filter", "messages")
    assert error["innererror"]["content_filter_result"]["custom_blocklists"] == {"filtered": True, "detected": True}
    line = gateway.line(response)
    assert (line["outcome"], line["attempts"], line["guard"]) == ("refused_guard", 0, "both")
    assert line["guard_hits"] == [
        {"stage": "prompt", "category": "blocklist", "severity": 6, "action": "block", "detector": "rules", "count": 1}
    ]
    assert upstream.requests() == []
    labels = {"stage": "prompt", "category": "blocklist", "action": "block"}
    assert gateway.value("sluicegate_guard_hits_total", **labels) >= 1


def test_the_sdk_raises_it(gateway: Gateway) -> None:
    """As a bad request."""
    with gateway.sdk() as client, pytest.raises(openai.BadRequestError) as problem:
        client.chat.completions.create(model="both", messages=[{"role": "user", "content": "the internal codename"}])
    assert problem.value.code == "content_filter"


@pytest.mark.parametrize("stream", [False, True])
def test_redaction_is_reversible(gateway: Gateway, upstream: Upstream, stream: bool) -> None:  # noqa: FBT001 - as above
    """The upstream never sees it, the caller gets it back."""
    text = f"my card is {CARD} and mail bob@example.com ok"
    if stream:
        said, end, _ = streamed(gateway, "both", text)
        assert (said, end) == (text, "stop")
    else:
        assert gateway.chat("both", text=text).json()["choices"][0]["message"]["content"] == text
    assert sent(upstream) == ["my card is [CARD_1] and mail [EMAIL_1] ok"]


def test_a_completion_hit_is_a_200_that_ends_by_the_filter(gateway: Gateway) -> None:
    """What was made is billed; the outcome says who ended it."""
    response = gateway.chat("answers", text=f"pay {CARD} for the internal codename now")
    assert response.status_code == 200
    choice = response.json()["choices"][0]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["content"] == "pay [CARD] for the "
    line = gateway.line(response)
    assert (line["outcome"], line["usage"]) == ("cut_guard", "exact")
    assert line["output_tokens"] > 0


def test_a_streamed_hit_cuts_and_cancels(gateway: Gateway, upstream: Upstream) -> None:
    """The stream ends as the SDK expects, the upstream is cancelled, what was made is billed."""
    text = "so the internal codename is " + "told " * 200
    before = len(gateway.lines())
    said, end, chunks = streamed(gateway, "paced", text)
    assert (said, end) == ("so the ", "content_filter")
    assert chunks[-1].choices[0].finish_reason == "content_filter"
    line = gateway.lines(before + 1)[-1]
    assert line["outcome"] == "cut_guard"
    assert 4 <= line["output_tokens"] < 60
    upstream.wait(lambda stats: stats["running"] == 0)
    assert upstream.find(line["request_id"])["gone"]


def test_redaction_works_on_streams(gateway: Gateway) -> None:
    """Token by token."""
    said, end, _ = streamed(gateway, "answers", f"pay {CARD}, mail bob@example.com today")
    assert (said, end) == ("pay [CARD], mail [EMAIL] today", "stop")


def test_the_guards_own_text_is_answered(gateway: Gateway, upstream: Upstream) -> None:
    """For a prompt without asking anybody; both are outcomes of the guard."""
    for stream in (False, True):
        response = gateway.chat("kind", text="the internal codename", stream=stream)
        assert response.status_code == 200
        assert "Let us talk about something else." in response.text
        assert '"finish_reason":"content_filter"' in response.text
        assert gateway.line(response)["outcome"] == "refused_guard"
    assert upstream.requests() == []
    said, end, _ = streamed(gateway, "kind", "hello")
    assert (said, end) == ("hello", "stop")


def test_annotations_are_azures(gateway: Gateway) -> None:
    """On the choice, with the text untouched."""
    choice = gateway.chat("told", text=f"pay {CARD} ok").json()["choices"][0]
    assert choice["message"]["content"] == f"pay {CARD} ok"
    assert choice["content_filter_results"] == {
        "personally_identifiable_information": {"filtered": False, "detected": True}
    }


def test_async_mode_cuts_when_the_match_is_complete(gateway: Gateway) -> None:
    """What has left by then is part of the match at most."""
    said, end, _ = streamed(gateway, "fast", "so the internal codename is told")
    assert end == "content_filter"
    assert said in ("so the internal", "so the internal ")


def test_an_exemption_lets_a_tenant_through(gateway: Gateway) -> None:
    """Because the operator's file says so."""
    assert gateway.chat("exempting", text=f"pay {CARD}").status_code == 200


def test_an_unguarded_model_is_not_looked_at(gateway: Gateway) -> None:
    """Nothing of a guard in its record."""
    response = gateway.chat("echo", text="the internal codename")
    assert response.status_code == 200
    assert "guard" not in gateway.line(response)


def test_a_changed_list_takes_effect_without_a_restart(gateway: Gateway) -> None:
    """Like a changed configuration."""
    assert gateway.chat("listed", text="a zebra").status_code == 200
    path = gateway.config_file.with_name("terms.txt")
    path.write_text("# ours\nzebra\n")
    gateway.until(lambda: gateway.chat("listed", text="a zebra").status_code == 400)


def test_completions_are_guarded_too(gateway: Gateway) -> None:
    """Prompt and answer; a prompt of token ids is refused, because nobody can look at it."""
    blocked = gateway.post("/v1/completions", orjson.dumps({"model": "both", "prompt": ["x", "internal codename"]}))
    assert (blocked.status_code, blocked.json()["error"]["param"]) == (400, "prompt")
    ids = gateway.post("/v1/completions", orjson.dumps({"model": "both", "prompt": [1, 2, 3]}))
    assert (ids.status_code, ids.json()["error"]["code"]) == (400, "invalid_request")


class Upstreamed:
    """An answer in batches, each after a wait; it may break."""

    def __init__(self, *batches: tuple[float, Batch], breaks: bool = False) -> None:
        self._batches = list(batches)
        self._breaks = breaks
        self.first = self._batches.pop(0)[1]

    async def more(self, outlet: Any = None) -> Batch:
        """The next one."""
        if not self._batches:
            if self._breaks:
                raise GatewayError(UPSTREAM_ERROR, "broke")
            return []
        wait, batch = self._batches.pop(0)
        await asyncio.sleep(wait)
        return batch


class Slow:
    """A watch that holds each batch for a while."""

    def __init__(self, wait: float = 0.0, hold: float = 60.0) -> None:
        self.cut = False
        self.full = False
        self.waiting: list[tuple[list[bool], Batch]] = []
        self.closed: list[float] = []
        self._wait, self._hold = wait, hold
        self._due: float | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self.waiting

    async def feed(self, batch: Batch | None, now: float, start: Start) -> None:
        """Hold it until the work beside is done."""
        self._due = now + self._hold
        if batch:
            clear: list[bool] = []
            self.waiting.append((clear, batch))
            start(self._look(clear))

    async def _look(self, clear: list[bool]) -> None:
        await asyncio.sleep(self._wait)
        clear.append(True)

    def tick(self, now: float, start: Start) -> float | None:
        """When it wants to be told."""
        if self._due is not None and now >= self._due:
            self.closed.append(now)
            self._due = None
        return self._due

    def ready(self, now: float) -> Batch:
        """What was looked at."""
        out: Batch = []
        while self.waiting and self.waiting[0][0]:
            out += self.waiting.pop(0)[1]
        self.cut = any(event.doc.get("bad") for event in out)
        return out


def events(*words: str, **fields: Any) -> Batch:
    """A batch."""
    return [Event(word.encode(), {"word": word, **fields}, tokens=1) for word in words]


async def raced(source: Upstreamed, watch: Slow) -> tuple[list[str], Progress]:
    """What leaves of an answer before a slow watch."""
    progress = Progress("req_1", Operation.CHAT)
    answer = Raced(source, watch, progress)
    await answer.begin()
    seen: list[str] = []
    batch = answer.first
    while batch:
        seen += [event.doc["word"] for event in batch]
        batch = await answer.more()
    return seen, progress


async def test_reading_goes_on_while_detectors_look() -> None:
    """Everything leaves in order and is counted once; five waits of a fifth of a second pass together."""
    began = time.monotonic()
    source = Upstreamed(*[(0.01, events(str(number))) for number in range(5)])
    seen, progress = await raced(source, Slow(wait=0.2))
    assert seen == list("01234")
    assert progress.counted == 5
    assert time.monotonic() - began < 0.9


async def test_the_clock_goes_on_while_the_upstream_is_silent() -> None:
    """A watch is told when its time is up, though nothing comes."""
    watch = Slow(hold=0.05)
    assert (await raced(Upstreamed((0, events("a")), (0.4, events("b"))), watch))[0] == ["a", "b"]
    assert watch.closed


async def test_an_upstream_that_breaks_is_an_error() -> None:
    """After what was cleared by then."""
    with pytest.raises(GatewayError, match="broke"):
        await raced(Upstreamed((0, events("a")), breaks=True), Slow())


async def test_a_cut_ends_the_answer_and_whatever_goes_on_beside() -> None:
    """Nothing is left running."""
    source = Upstreamed((0, events("a", bad=True)), (60, events("b")))
    assert (await raced(source, Slow()))[0] == ["a"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("guard")] == []


async def test_a_crash_beside_is_not_swallowed() -> None:
    """A bug is a bug."""
    watch = Slow()
    watch._wait = "no number"  # type: ignore[assignment]  # the bug
    with pytest.raises(TypeError):
        await raced(Upstreamed((0, events("a"))), watch)


class Glancing:
    """A watch for which a glance at `a` is enough, of which nothing may be seen yet, and at `b`."""

    cut = False

    def feed(self, batch: Batch | None, now: float) -> Batch:
        """All of it."""
        return batch or []

    def glance(self, piece: bytes, now: float) -> bytes | None:
        """What may be seen."""
        return {b"a": b"", b"b": b"ab"}.get(piece)


class Tapped:
    """An answer from upstream that tries the outlet first, as `call.Answer` does."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.first = events("begin")
        self._pieces = pieces

    async def more(self, outlet: Any = None) -> Batch:
        """The next piece that the outlet does not take."""
        while self._pieces:
            piece = self._pieces.pop(0)
            if outlet is None or outlet.full or not outlet.relay(piece):
                return events(piece.decode())
        return []


@pytest.mark.parametrize(
    ("full_at", "passed", "left"),
    [(None, [b"ab", b"ab"], ["c"]), (1, [b"ab"], ["c", "b"]), (0, [], ["a", "b", "c", "b"])],
)
async def test_what_a_glance_is_enough_for_goes_past(full_at: int | None, passed: list[bytes], left: list[str]) -> None:
    """To the caller's socket while it takes something; the rest is read."""
    outlet = Outlet(full_at)
    tapped = Tapped([b"a", b"b", b"c", b"b"])
    answer = Guarded(tapped, Glancing(), Progress("req_1", Operation.CHAT))
    seen = [event.doc["word"] for event in answer.seen(tapped.first)]
    while batch := await answer.more(outlet):
        seen += [event.doc["word"] for event in batch]
    assert (outlet.pieces, seen) == (passed, ["begin", *left])
