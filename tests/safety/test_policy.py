"""What a guard does about a prompt, and who watches the answer."""

from __future__ import annotations

import time
from typing import Any

import pytest

from app.errors import GatewayError
from app.exchange import Operation
from app.pipeline.report import Hit, Report
from app.safety.policy import CheckedPrompt, GuardPolicy
from tests.pipeline.parts import call
from tests.safety.guarding import BOTH, Stream, chunk, policy, said

CARD = "4111 1111 1111 1111"


async def checked(guard: GuardPolicy, text: str = "", **fields: Any) -> tuple[CheckedPrompt, Report]:
    """The prompt, looked at."""
    report = Report("default")
    given = {} if fields else {"messages": [{"role": "user", "content": text}]}
    operation = Operation.CHAT
    if "prompt" in fields:
        operation = Operation.COMPLETION
    elif "input" in fields:
        operation = Operation.EMBEDDINGS
    return await guard.prompt(call(operation, **given, **fields), report), report


async def test_a_block_is_told_with_who_said_it() -> None:
    """Stage, category, severity, action, detector."""
    prompt, report = await checked(policy(), "the internal codename")
    assert report.refused
    assert report.hits == {Hit("prompt", "blocklist", 6, "block", "rules"): 1}
    assert prompt.results["custom_blocklists"] == {"filtered": True, "detected": True}


async def test_what_a_guard_writes_is_read_as_often_as_what_was_there() -> None:
    """A query with every document; and not at all where reading costs nothing."""
    report = Report("default")
    asked = call(Operation.RERANK, query="Who is bob@example.com?", documents=["a", "b", "c"])
    size = asked.size
    assert (await policy().prompt(asked, report)).call.size == size + 3 * len("[EMAIL_1]")
    counted = call(Operation.TOKENIZE, prompt="Who is bob@example.com?")
    assert (await policy().prompt(counted, report)).call.size == 0


async def test_redaction_is_undone_in_the_answer() -> None:
    """The model never sees it, the caller gets it back."""
    guard = policy()
    text = f"Pay {CARD} for bob@example.com"
    prompt, report = await checked(guard, messages=[{"role": "user", "content": text}], stream=True)
    assert prompt.call.body["messages"][0]["content"] == "Pay [CARD_1] for [EMAIL_1]"
    assert prompt.call.size >= len("Pay [CARD_1] for [EMAIL_1]")
    assert not report.refused
    stream = Stream(guard, prompt)
    docs = await stream.docs(
        *[chunk(part) for part in ("I paid [CA", "RD_1], not 5500 0000 0000 0004 ", "of [EMAIL_1]")], ends=True
    )
    assert said(docs) == f"I paid {CARD}, not [CARD] of bob@example.com"


async def test_redaction_may_be_kept() -> None:
    """Where the guard says so."""
    guard = policy(restore=False, completion=None)
    prompt, report = await checked(guard, "bob@example.com")
    assert guard.watch(prompt, report) is None


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": [{"type": "text", "text": "the internal"}, {"type": "text", "text": "codename"}]}],
        [{"role": "user", "content": "the internal"}, {"role": "user", "content": "codename"}],
        [{"role": "user", "content": "hi"}, {"role": "tool", "tool_call_id": "1", "content": "the internal codename"}],
        [{"role": "system", "content": "the internal codename"}, {"role": "user", "content": "hi"}],
        [{"role": "user", "content": "hi", "name": "internal-codename"}],
    ],
)
async def test_everything_is_looked_at(messages: list[Any]) -> None:
    """Parts, turns, tool results, the caller's own system prompt, names."""
    assert (await checked(policy(), messages=messages))[1].refused


@pytest.mark.parametrize("fields", [{"prompt": ["x", "internal codename"]}, {"input": "internal codename"}])
async def test_completions_and_embeddings_are_looked_at(fields: dict[str, Any]) -> None:
    """Every prompt, every input."""
    assert (await checked(policy(), **fields))[1].refused


async def test_token_ids_are_refused() -> None:
    """Nobody here can read them."""
    with pytest.raises(GatewayError, match="send text") as problem:
        await checked(policy(), prompt=[1, 2, 3])
    assert problem.value.param == "prompt"


async def test_an_exemption_holds_for_its_tenant_alone() -> None:
    """Other actions, other thresholds."""
    exemptions = [{"tenant": "team", "actions": {"blocklist": "log"}}]
    assert not (await checked(policy("team", exemptions=exemptions), "internal codename"))[1].refused
    assert (await checked(policy("others", exemptions=exemptions), "internal codename"))[1].refused


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("\u200b" * 100_000, False), ("word " * 60_000 + "internal codename", True),
        ("aW50ZXJuYWwgY29kZW5hbWU=", False),
        ("vagreany pbqranzr", False), ("**internal** _codename_", True), ("<b>internal</b> codename", False),
        ("\x00\x01\x02internal\x00codename \xff", True),
        ("\u0456nt\u0435rn\u0430l c\u043ed\u0435n\u0430m\u0435", True),
    ],
)  # fmt: skip
async def test_odd_texts_have_defined_ends(text: str, refused: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Markup, look-alikes and binary garbage do not hide a term from `rules`; base64, rot13 and HTML do."""
    report = Report("default")
    guarded = call()
    guarded.body["messages"][0]["content"] = text
    await policy().prompt(guarded._replace(size=len(text)), report)
    assert report.refused is refused


async def test_images_are_not_looked_at_and_do_not_cost() -> None:
    """Neither their data nor their address; the text beside them is."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "QUJD" * 250_000}}
    text = {"type": "text", "text": "the internal codename"}
    assert not (await checked(policy(), messages=[{"role": "user", "content": [image]}]))[1].refused
    assert (await checked(policy(), messages=[{"role": "user", "content": [image, text]}]))[1].refused


@pytest.mark.parametrize(
    "unit", ["a", "a@", "1 ", "-----BEGIN ", "sk-", "b.o.m.", "\u0301", "\u200b", "AB12", "eyJa.", "+(1"]
)
async def test_a_megabyte_of_anything_takes_bounded_time(unit: str) -> None:
    """No pattern takes more than linear time; a second or so on a busy machine."""
    began = time.monotonic()
    guarded = call()
    guarded.body["messages"][0]["content"] = unit * (1_000_000 // len(unit))
    await policy().prompt(guarded._replace(size=1_000_000), Report("default"))
    assert time.monotonic() - began < 20


async def test_ten_thousand_messages_are_one_prompt() -> None:
    """Split letter by letter over them."""
    messages = [{"role": "user", "content": char} for char in "x " * 5000 + "internal codename"]
    assert (await checked(policy(), messages=messages))[1].refused


async def test_a_guard_without_stages_watches_nobody() -> None:
    """A prompt alone, an answer alone."""
    guard = policy(completion=None)
    assert guard.watch(CheckedPrompt(call()), Report("x")) is None
    prompt, report = await checked(policy(prompt=None), "internal codename")
    assert not report.refused
    assert policy(prompt=None).watch(prompt, report) is not None
    assert policy().watch(CheckedPrompt(call(Operation.EMBEDDINGS)), report) is None


async def test_findings_about_the_prompt_are_told_in_the_answer() -> None:
    """Where that is asked for, in the first event."""
    guard = policy(prompt={**BOTH, "actions": {"pii": "annotate"}})
    prompt, _ = await checked(guard, "bob@example.com")
    docs = await Stream(guard, prompt).docs(chunk("hi "))
    results = docs[0]["prompt_filter_results"][0]["content_filter_results"]
    assert results["personally_identifiable_information"] == {"filtered": False, "detected": True}
