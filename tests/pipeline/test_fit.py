"""What fits goes on at once; what may fit is counted; what cannot fit is refused with the numbers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from app.errors import BUDGET_EXCEEDED, GatewayError
from app.exchange import Arm, Call, Count, CountMethod, JsonObject, Operation
from app.pipeline import counting
from app.pipeline.counting import body_bound
from app.pipeline.fit import Fitter, at_once, rewritten
from app.pipeline.plan import Plan
from app.pipeline.progress import CALL, Progress
from app.pipeline.shorten import Spent
from app.table import Deployment, Model
from app.telemetry import FITTED
from tests.pipeline.parts import Counted, call, table

SMALL = {
    "deployments[0].context_window": 1000,
    "deployments[0].max_output_tokens": 400,
    "deployments[0].template_tokens": 0,
    "deployments[1].context_window": 3000,
    "deployments[1].max_output_tokens": 400,
    "deployments[1].template_tokens": 0,
    "models[0].fallbacks": ["two"],
}


class Scale:
    """Counts what it is told to count, exactly or at least."""

    def __init__(self, tokens: int | None = None, *, least: int | None = None) -> None:
        self.tokens, self.least = tokens, least
        self.asked: list[str] = []

    async def body_bound(self, call: Call) -> int:
        """The bound of a large body."""
        self.asked.append("body")
        return body_bound(call)

    async def count(self, call: Call, deployment: Deployment, known: Count) -> Count:
        """What it was told, or what is known."""
        self.asked.append(deployment.name)
        if self.tokens is None:
            return known
        least = self.tokens if self.least is None else self.least
        return Count(self.tokens, self.tokens, least, CountMethod.EXACT)


class Inner:
    """The gateway's own calls: each is answered with `summary`."""

    def __init__(self, *, allowed: bool = True) -> None:
        self.allowed = allowed
        self.asked: list[str] = []
        self.spent = Spent()
        self.refuse_after: float | None = None

    def window(self, model: str) -> int:
        """Large."""
        return 100_000

    async def __call__(self, model: str, body: JsonObject, purpose: str) -> str:
        """An answer."""
        self.asked.append(purpose)
        self.spent = self.spent.plus(10, 500)
        if self.refuse_after is not None:
            await asyncio.sleep(self.refuse_after)
            raise GatewayError(BUDGET_EXCEEDED, "Nothing is left.")
        return "summary"


class Stage:
    """The stage before a table with a model of two deployments: windows of 1000 and 3000 tokens."""

    def __init__(self, scale: Scale | None = None, *, policy: str = "reject", fallbacks: bool = False) -> None:
        self.telemetry, self.scale = Counted(), scale or Scale()
        changes: dict[str, Any] = {**SMALL, "models[0].token_limit": policy}
        if policy == "summarise":
            changes["models[0].summarise_with"] = "chat"
        self.model: Model = table(changes).models["chat"]
        choices = [(Arm.STABLE, self.model.stable)]
        choices += [(Arm.FALLBACK, one) for one in self.model.fallbacks] if fallbacks else []
        self.plan = Plan(tuple(choices))
        self.progress = Progress("req_1", Operation.CHAT)
        self.inner = Inner()

    async def fit(self, asked: Call) -> tuple[Call, list[str]]:
        """The call and the names of the deployments that it may go to."""
        if at_once(asked, self.plan, self.progress):
            return asked, [one.name for _, one in self.plan.choices]
        fitter = Fitter(self.scale, self.telemetry)
        asked, plan = await fitter.fit(asked, self.plan, self.model, self.progress, self.inner)
        return asked, [one.name for _, one in plan.choices]

    @property
    def actions(self) -> dict[str, float]:
        """What was counted."""
        return {labels[1]: slots[0] for labels, slots in self.telemetry.read(FITTED).items()}


def long(size: int, **fields: Any) -> Call:
    """A chat of so many bytes."""
    empty = call(messages=[{"role": "user", "content": ""}], **fields)
    return call(messages=[{"role": "user", "content": "x" * (size - empty.size)}], **fields)


@pytest.mark.parametrize("fields", [{}, {"max_tokens": 400}, {"max_tokens": 4000}])
async def test_what_fits_by_its_bytes_is_not_counted(fields: dict[str, Any]) -> None:
    """The cap is the caller's or the deployment's, the lower one; the bound is noted."""
    stage = Stage()
    asked = long(600, **fields)
    assert await stage.fit(asked) == (asked, ["one"])
    assert (stage.scale.asked, stage.actions) == ([], {})
    assert stage.progress.prompt == (600, 600, 0, CountMethod.BOUND)


async def test_one_byte_more_is_counted() -> None:
    """And goes on when the count says that it fits."""
    stage = Stage(Scale(150))
    asked = long(601, max_tokens=400)
    assert await stage.fit(asked) == (asked, ["one"])
    assert stage.scale.asked == ["one"]
    assert stage.progress.prompt == (150, 150, 150, CountMethod.EXACT)


async def test_what_certainly_does_not_fit_is_refused_with_the_numbers() -> None:
    """In the words that OpenAI's clients know."""
    stage = Stage(Scale(601))
    with pytest.raises(GatewayError) as refused:
        await stage.fit(long(5000, max_tokens=400))
    error = refused.value
    assert (error.status, error.code_name, error.param) == (400, "context_length_exceeded", "messages")
    assert "maximum context length is 1000 tokens" in error.message
    assert "you requested 1001 tokens" in error.message
    assert "(601 in the prompt, 400 for the answer)" in error.message
    assert stage.actions == {"reject": 1}


@pytest.mark.parametrize(("tokens", "fits"), [(600, True), (601, False)])
async def test_the_last_token_counts(tokens: int, *, fits: bool) -> None:
    """Prompt and answer may fill the window to its end."""
    stage = Stage(Scale(tokens))
    if fits:
        await stage.fit(long(5000, max_tokens=400))
    else:
        with pytest.raises(GatewayError):
            await stage.fit(long(5000, max_tokens=400))


async def test_where_only_a_bound_is_known_the_upstream_has_the_last_word() -> None:
    """A bound that does not fit proves nothing: a word has several bytes."""
    stage = Stage()
    asked = long(5000, max_tokens=400)
    assert await stage.fit(asked) == (asked, ["one"])
    assert stage.progress.prompt is not None
    assert stage.progress.prompt.method is CountMethod.BOUND


async def test_a_count_between_two_bounds_is_refused_by_the_lower_one_alone() -> None:
    """The text by its vocabulary is exact, the chat template is not."""
    await Stage(Scale(650, least=600)).fit(long(5000, max_tokens=400))
    with pytest.raises(GatewayError, match="at least 601 in the prompt"):
        await Stage(Scale(650, least=601)).fit(long(5000, max_tokens=400))


async def test_without_a_cap_of_the_callers_one_token_of_room_is_enough() -> None:
    """The deployment's own cap is lowered to what fits (`outgoing`)."""
    await Stage(Scale(999)).fit(long(5000))
    with pytest.raises(GatewayError, match="1 for the answer"):
        await Stage(Scale(1000)).fit(long(5000))


async def test_clamp_lowers_the_callers_cap() -> None:
    """Told in a header, in the log and in a counter."""
    stage = Stage(Scale(700), policy="clamp")
    got, names = await stage.fit(long(5000, max_tokens=400))
    assert (got.soft_cap, names) == (True, ["one"])
    assert stage.progress.fitted == "clamp; max_tokens=300"
    assert stage.actions == {"clamp": 1}


async def test_clamp_cannot_make_room_where_there_is_none() -> None:
    """One token is the least answer."""
    stage = Stage(Scale(1000), policy="clamp")
    with pytest.raises(GatewayError):
        await stage.fit(long(5000, max_tokens=400))
    assert stage.actions == {"reject": 1}


async def test_clamp_leaves_alone_what_fits() -> None:
    """Nothing is told where nothing was done."""
    stage = Stage(Scale(600), policy="clamp")
    await stage.fit(long(5000, max_tokens=400))
    assert (stage.progress.fitted, stage.actions) == (None, {})


async def test_deployments_that_cannot_take_it_leave_the_plan() -> None:
    """A fallback with a larger window serves what the first cannot."""
    stage = Stage(Scale(2000), fallbacks=True)
    assert (await stage.fit(long(5000, max_tokens=400)))[1] == ["two"]
    stage = Stage(Scale(500), fallbacks=True)
    assert (await stage.fit(long(5000, max_tokens=400)))[1] == ["one", "two"]
    stage = Stage(Scale(4000), fallbacks=True)
    with pytest.raises(GatewayError, match="maximum context length is 1000 tokens"):
        await stage.fit(long(5000, max_tokens=400))


async def test_a_deployment_that_fits_by_bytes_is_not_counted_for() -> None:
    """Only the smaller window is in doubt."""
    stage = Stage(Scale(500), fallbacks=True)
    await stage.fit(long(2000, max_tokens=400))
    assert stage.scale.asked == ["one"]
    assert stage.progress.prompt is not None
    assert stage.progress.prompt.tokens == 2000


@pytest.mark.parametrize("text", ["ü" * 40_000, "ü" * 2000])
async def test_a_body_is_looked_at_once_for_all_deployments(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the loop and off it: only what is their own is added for each."""
    seen: list[str] = []

    def growth(found: str) -> int:
        seen.append(found)
        return 0

    monkeypatch.setattr(counting, "growth", growth)
    stage = Stage(Scale(10), fallbacks=True)
    asked = call(messages=[{"role": "user", "content": text}])
    await stage.fit(asked)
    assert stage.scale.asked[-2:] == ["one", "two"]
    assert seen.count(text) == (1 if asked.size > counting.LARGE else 2)  # at first sight, and for the counts


async def test_a_wait_that_ends_in_a_refusal_is_not_the_requests_own_time() -> None:
    """A summary that the tenant may not pay for: the time until somebody said so was spent elsewhere."""
    stage = Stage(policy="summarise")
    stage.inner.refuse_after = 0.05
    with pytest.raises(GatewayError, match="Nothing is left"):
        await stage.fit(talk(900, 900, 10, max_tokens=10))
    stage.progress.mark(CALL)
    assert stage.progress.own[CALL] < 0.05
    assert stage.progress.fitted == "summarise; failed; calls=1; tokens=10; usd=0.000000500"


async def test_a_large_body_that_is_not_plain_is_bounded_off_the_loop() -> None:
    """Looking for characters that grow takes a while."""
    stage = Stage(Scale(10))
    await stage.fit(call(messages=[{"role": "user", "content": "ü" * 40_000}]))
    assert stage.scale.asked == ["body", "one"]


@pytest.mark.parametrize(
    ("operation", "fields", "param"),
    [
        (Operation.COMPLETION, {"prompt": "x" * 5000, "max_tokens": 5}, "prompt"),
        (Operation.EMBEDDINGS, {"input": "x" * 5000}, "input"),
    ],
)
async def test_the_refusal_names_the_field_to_blame(operation: Operation, fields: dict[str, Any], param: str) -> None:
    """Embeddings need room for no answer."""
    await Stage(Scale(995 if operation is Operation.COMPLETION else 1000)).fit(call(operation, **fields))
    with pytest.raises(GatewayError) as refused:
        await Stage(Scale(1001)).fit(call(operation, **fields))
    assert refused.value.param == param


def talk(*sizes: int, **fields: Any) -> Call:
    """A conversation of messages of these sizes."""
    roles = ("user", "assistant")
    return call(messages=[{"role": roles[at % 2], "content": "x" * size} for at, size in enumerate(sizes)], **fields)


@pytest.mark.parametrize(
    ("policy", "told", "asked"),
    [
        ("truncate", "truncate; dropped=2", []),
        ("summarise", "summarise; dropped=2; calls=1; tokens=10; usd=0.000000500", ["summary"]),
    ],
)
async def test_a_conversation_is_shortened_as_the_policy_says(policy: str, told: str, asked: list[str]) -> None:
    """Told in a header, in the log and in a counter."""
    stage = Stage(policy=policy)
    got, _ = await stage.fit(talk(900, 900, 10, max_tokens=10))
    assert stage.progress.fitted == told
    assert stage.inner.asked == asked
    assert stage.actions == {policy: 1}
    assert len(got.body["messages"]) == 1


async def test_a_text_is_worked_through_in_pieces() -> None:
    """Then one call for one answer goes on."""
    stage = Stage(policy="chunk")
    got, _ = await stage.fit(talk(2000, max_tokens=10))
    assert set(stage.inner.asked) == {"chunk"}
    assert len(stage.inner.asked) >= 3
    assert "[1] summary" in got.body["messages"][0]["content"]
    assert stage.actions == {"chunk": 1}


@pytest.mark.parametrize("fields", [{"stream": True}, {"n": 2}, {"tools": [{}]}])
async def test_only_a_task_about_a_text_is_for_pieces(fields: dict[str, Any]) -> None:
    """The rest is counted, and sent if it may fit."""
    stage = Stage(Scale(2000), policy="chunk")
    with pytest.raises(GatewayError):
        await stage.fit(talk(2000, max_tokens=10, **fields))
    assert stage.inner.asked == []


@pytest.mark.parametrize("policy", ["summarise", "chunk"])
async def test_a_call_of_the_gateways_own_makes_no_further_ones(policy: str) -> None:
    """Its conversation is cut: a summariser that had itself summarised would never end."""
    stage = Stage(policy=policy)
    stage.inner = Inner(allowed=False)
    await stage.fit(talk(900, 900, 10, max_tokens=10))
    assert stage.progress.fitted == "truncate; dropped=2"
    assert stage.inner.asked == []


@pytest.mark.parametrize("policy", ["truncate", "summarise", "chunk"])
async def test_what_fits_is_left_as_it_is(policy: str) -> None:
    """By its count, though not by its bytes."""
    stage = Stage(Scale(100), policy=policy)
    asked = talk(900, 900, 10, max_tokens=10)
    assert (await stage.fit(asked))[0] is asked
    assert (stage.progress.fitted, stage.actions) == (None, {})


async def test_completions_have_no_turns() -> None:
    """They are refused as with `reject`."""
    stage = Stage(Scale(2000), policy="truncate")
    with pytest.raises(GatewayError):
        await stage.fit(call(Operation.COMPLETION, prompt="x" * 5000, max_tokens=5))


async def test_an_answer_without_a_cap_leaves_half_of_the_window_to_the_prompt() -> None:
    """Where `max_output_tokens` is near the window, nothing would fit otherwise."""
    stage = Stage(policy="truncate")
    stage.plan = Plan(((Arm.STABLE, replace(stage.model.stable, max_output_tokens=1000)),))
    asked = talk(100, 100, 100)
    assert (await stage.fit(asked))[0] is asked
    assert (await stage.fit(talk(300, 300, 100)))[0].body["messages"] == asked.body["messages"][2:]


def test_a_prompt_in_which_something_was_replaced_may_be_longer() -> None:
    """By as many tokens as bytes were written; the body is the same object, changed in place."""
    before = talk(10)
    after = before._replace(size=before.size + 15)
    count = Count(100, 60, 5, CountMethod.EXACT)
    assert rewritten(before, after, count) == (115, 75, 5, CountMethod.EXACT)
    assert rewritten(before, before, count) == count
    assert rewritten(before, after, None) is None
