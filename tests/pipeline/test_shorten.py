"""Conversations and texts that do not fit: what goes, what is asked on the way, what is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BUDGET_EXCEEDED, RATE_LIMIT_EXCEEDED, UPSTREAM_ERROR, GatewayError
from app.exchange import Call, JsonObject
from app.pipeline import shorten
from app.pipeline.pieces import SUMMARY_HEAD
from app.pipeline.shorten import Spent, answer_text, chunk, summarise, truncate
from app.table import Overflow
from tests.pipeline.parts import call

OVERFLOW = Overflow("summarise", "small", 50, 8)


class Within:
    """Whether a call's messages have at most so many characters of content."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.asked = 0

    async def __call__(self, asked: Call, spare: int) -> bool:
        """The question."""
        self.asked += 1
        return sum(len(message["content"] or "") for message in asked.body["messages"]) + spare <= self.size


class Model:
    """Answers what it is told, or echoes how long the question was."""

    allowed = True

    def __init__(self, *answers: str | GatewayError) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, JsonObject, str]] = []
        self.busy = self.busiest = 0
        self.spent = Spent()

    def window(self, model: str) -> int:
        """Small enough for several pieces."""
        return 4000

    async def __call__(self, model: str, body: JsonObject, purpose: str) -> str:
        """An answer."""
        self.asked.append((model, body, purpose))
        self.spent = self.spent.plus(10, 500)
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        await asyncio.sleep(0)
        self.busy -= 1
        answer = self.answers.pop(0) if self.answers else "short"
        if isinstance(answer, GatewayError):
            raise answer
        return answer


def talk(*sizes: int) -> Call:
    """A conversation: a system prompt of four characters, then questions and answers of these sizes."""
    roles = ("user", "assistant")
    messages = [{"role": roles[at % 2], "content": chr(97 + at) * size} for at, size in enumerate(sizes)]
    return call(messages=[{"role": "system", "content": "rule"}, *messages])


def contents(asked: Call) -> list[str]:
    """What is left."""
    return [message["content"] for message in asked.body["messages"]]


async def test_truncating_drops_as_little_as_it_can() -> None:
    """Whole turns, the oldest first."""
    asked = talk(10, 10, 10, 10, 10)
    short = await truncate(asked, Within(34))
    assert short is not None
    assert contents(short.call) == ["rule", "c" * 10, "d" * 10, "e" * 10]
    assert (short.told, short.action) == ("truncate; dropped=2", "truncate")


async def test_truncating_gives_up_where_the_question_is_too_long() -> None:
    """Nothing is dropped for nothing."""
    assert await truncate(talk(10, 10, 100), Within(50)) is None
    assert await truncate(talk(100), Within(50)) is None


@given(st.lists(st.integers(0, 30), min_size=1, max_size=15), st.integers(0, 200))
def test_one_turn_less_would_not_have_been_enough(sizes: list[int], room: int) -> None:
    """What goes is the shortest run of oldest turns after which it fits."""
    asked = talk(*sizes)
    short = asyncio.run(truncate(asked, Within(room)))
    if short is None:
        return
    kept = contents(short.call)
    assert kept[0] == "rule"
    assert sum(map(len, kept)) <= room
    everything = contents(asked)
    gone = len(everything) - len(kept)
    assert kept[1:] == everything[1 + gone :]
    assert gone == 2 or sum(map(len, everything[gone - 1 :])) + 4 > room


async def test_few_questions_are_asked_about_a_long_conversation() -> None:
    """Counting may mean a question to the upstream."""
    fits = Within(40)
    assert await truncate(talk(*[10] * 401), fits) is not None
    assert fits.asked <= 10


async def test_a_summary_takes_the_place_of_what_is_dropped() -> None:
    """Before the user's next words; told with its price; the summariser gets the words, and a cap."""
    model = Model("They spoke of a and b.")
    short = await summarise(talk(40, 40, 10, 10, 10), Within(200), Overflow("summarise", "small", 100, 8), model)
    assert short is not None
    assert contents(short.call)[1].startswith("[Summary of the earlier conversation")
    assert contents(short.call)[1].endswith("They spoke of a and b.\n\n" + "c" * 10)
    assert short.told == "summarise; dropped=2; calls=1; tokens=10; usd=0.000000500"
    (name, body, purpose) = model.asked[0]
    assert (name, purpose, body["max_tokens"]) == ("small", "summary", 100)
    assert body["messages"][1]["content"] == f"user: {'a' * 40}\n\nassistant: {'b' * 40}"


async def test_a_long_past_is_summarised_piece_by_piece() -> None:
    """Each piece with the summary of those before it."""
    model = Model("one", "two", "three")
    short = await summarise(talk(3000, 2000, 10), Within(300), OVERFLOW, model)
    assert short is not None
    assert len(model.asked) == 3
    asked = [body["messages"][1]["content"] for _, body, _ in model.asked]
    assert asked[1].startswith("Summary of what came before it:\none\n\n")
    assert asked[2].startswith("Summary of what came before it:\ntwo\n\n")
    assert short.told.endswith("calls=3; tokens=30; usd=0.000001500")
    with pytest.raises(GatewayError, match="it would be read in 10 pieces, and 8 are allowed"):
        await summarise(talk(10_000, 10_000, 10), Within(300), OVERFLOW, model)


async def test_a_summary_that_cannot_be_had_is_gone_without() -> None:
    """The request goes on, and says so."""
    model = Model(GatewayError(UPSTREAM_ERROR, "no"))
    short = await summarise(talk(40, 40, 10), Within(75), OVERFLOW, model)
    assert short is not None
    told = "truncate; dropped=2; summary=failed; calls=1; tokens=10; usd=0.000000500"
    assert (short.told, short.action) == (told, "truncate")
    assert contents(short.call) == ["rule", "c" * 10]


async def test_a_summary_that_fails_half_way_has_cost_something() -> None:
    """What was bought before is told."""
    model = Model("one", GatewayError(UPSTREAM_ERROR, "no"))
    short = await summarise(talk(3000, 2000, 10), Within(300), OVERFLOW, model)
    assert short is not None
    assert short.told == "truncate; dropped=2; summary=failed; calls=2; tokens=20; usd=0.000001000"


@pytest.mark.parametrize("code", [BUDGET_EXCEEDED, RATE_LIMIT_EXCEEDED])
async def test_what_the_tenant_may_not_spend_ends_the_request(code: Any) -> None:
    """A refusal of the gateway's own is the answer."""
    with pytest.raises(GatewayError) as refused:
        await summarise(talk(40, 40, 10), Within(75), OVERFLOW, Model(GatewayError(code, "no")))
    assert refused.value.code is code


async def test_a_summary_that_is_longer_than_it_should_be() -> None:
    """More of the conversation goes, and never the summary: it was paid for."""
    bought = "x" * 60
    short = await summarise(talk(40, 40, 30, 30, 10), Within(160), OVERFLOW, Model(bought))
    assert short is not None
    assert contents(short.call)[1:] == [f"{SUMMARY_HEAD}\n{bought}\n\n{'e' * 10}"]
    assert short.told == "summarise; dropped=4; calls=1; tokens=10; usd=0.000000500"


async def test_a_summary_that_fits_nowhere_is_gone_without() -> None:
    """What it has cost is told."""
    short = await summarise(talk(40, 40, 10), Within(75), OVERFLOW, Model("x" * 200))
    assert short is not None
    assert contents(short.call) == ["rule", "c" * 10]
    assert short.told == "truncate; dropped=2; summary=too_long; calls=1; tokens=10; usd=0.000000500"


async def test_where_a_summary_has_no_room_turns_are_dropped() -> None:
    """A small window holds the question and not much more."""
    model = Model()
    short = await summarise(talk(40, 40, 10), Within(20), OVERFLOW, model)
    assert short is not None
    assert (short.action, model.asked) == ("truncate", [])


TASK = "Summarise this:"


def task(size: int, **fields: Any) -> Call:
    """A task about a long text of so many words."""
    words = " ".join(f"word{at}" for at in range(size))
    system = {"role": "system", "content": "be brief"}
    return call(messages=[system, {"role": "user", "content": f"{TASK}\n\n{words}"}], **fields)


async def test_a_long_text_is_worked_through_in_pieces() -> None:
    """Each with the task, all of the text once; then one call for one answer."""
    model = Model()
    asked = task(900)
    short = await chunk(asked, Within(2000), OVERFLOW, model)
    assert short is not None
    texts = [body["messages"][1]["content"] for _, body, _ in model.asked]
    count = len(texts)
    assert count >= 4
    assert all(text.startswith(f"{TASK}\n\n[Part {at} of {count} ") for at, text in enumerate(texts, start=1))
    assert (
        "".join(text.partition("alone.]\n")[2] for text in texts)
        == asked.body["messages"][1]["content"][len(TASK) + 2 :]
    )
    assert {purpose for _, _, purpose in model.asked} == {"chunk"}
    final = contents(short.call)[1]
    assert final.startswith(f"{TASK}\n\n[The text was too long")
    assert final.endswith("\n\n".join(f"[{at}] short" for at in range(1, count + 1)))
    assert short.told == f"chunk; chunks={count}; calls={count}; tokens={10 * count}; usd={count * 5e-7:.9f}"
    assert model.busiest <= shorten.AT_A_TIME


async def test_results_that_are_too_long_are_worked_through_again() -> None:
    """Until they fit."""
    model = Model(*["r" * 700] * 5)
    short = await chunk(task(900), Within(2000), OVERFLOW, model)
    assert short is not None
    assert len(model.asked) > 5
    assert short.told.startswith("chunk; chunks=")


async def test_results_that_never_get_shorter_are_given_up() -> None:
    """A model that repeats its text would be asked for ever."""
    assert await chunk(task(900), Within(2000), OVERFLOW, Model(*["r" * 1900] * 50)) is None


async def test_too_many_pieces_are_refused_before_any_is_paid_for() -> None:
    """With the numbers."""
    model = Model()
    with pytest.raises(GatewayError, match="8 are allowed here"):
        await chunk(task(9000), Within(2000), OVERFLOW, model)
    assert model.asked == []


async def test_no_room_for_any_piece() -> None:
    """Where the rest of the request fills the window, and where nobody said a text."""
    assert await chunk(task(900), Within(150), OVERFLOW, Model()) is None
    nothing = call(messages=[{"role": "assistant", "content": "x" * 5000}])
    assert await chunk(nothing, Within(2000), OVERFLOW, Model()) is None


async def test_a_piece_that_fails_fails_the_request() -> None:
    """An answer from half a text would be none."""
    with pytest.raises(GatewayError):
        await chunk(task(900), Within(2000), OVERFLOW, Model("a", GatewayError(UPSTREAM_ERROR, "no")))


@pytest.mark.parametrize(
    ("doc", "text"),
    [
        ({"choices": [{"message": {"content": "hi"}}]}, "hi"),
        ({"choices": [{"message": {"content": None}}]}, ""),
        ({"choices": [{"message": "odd"}]}, ""),
        ({"choices": ["odd"]}, ""),
        ({"choices": []}, ""),
        ({}, ""),
    ],
)
def test_the_text_of_an_answer(doc: JsonObject, text: str) -> None:
    """Whatever an upstream says."""
    assert answer_text(doc) == text
