"""Counting for the stage `fit`: by vocabularies and by a real server's `/tokenize`, never failing, never too low."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from app.config import ConfigError
from app.exchange import Call, Count, CountMethod, Operation, Provider
from app.pipeline.counting import body_bound, bound
from app.pipeline.endpoints import Endpoints
from app.pipeline.outgoing import shaped
from app.providers import counter as module
from app.providers.counter import PromptCounter, conversation
from app.providers.rendering import rendered
from app.providers.transport import HttpTransport
from app.providers.vocabulary import Tokens
from app.table import Deployment
from tests.pipeline.parts import call, deployment, table
from tests.pipeline.test_counting import MESSAGES, TOOLS, chatml, llama
from tests.support.configs import loaded
from tests.support.upstream import Upstream
from tests.support.vocabularies import shipped, trained

TALK = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "one two three"},
    {"role": "assistant", "content": "four"},
]


@pytest_asyncio.fixture
async def counter(transport: HttpTransport) -> AsyncIterator[PromptCounter]:
    """A counter with nothing loaded."""
    made = PromptCounter(transport, Endpoints(asyncio.get_running_loop().time))
    yield made
    made.close()


def at(upstream: Upstream, model: str = "echo", **settings: Any) -> Deployment:
    """A vLLM deployment before the fake upstream."""
    return deployment(base_url=f"{upstream.url}/v1", model=model, **settings)


async def counted(counter: PromptCounter, asked: Call, one: Deployment) -> Count:
    """The count, with the bound as what is known."""
    return await counter.count(asked, one, bound(asked, one))


async def test_the_upstream_counts_exactly(counter: PromptCounter, upstream: Upstream) -> None:
    """Its words and its three tokens a message; the answer to the same request is billed as many."""
    asked = call(messages=TALK)
    assert await counted(counter, asked, at(upstream)) == (15, 15, 15, CountMethod.EXACT)


async def test_what_the_upstream_is_asked(counter: PromptCounter, upstream: Upstream) -> None:
    """What its chat template needs, with the deployment's own name and key; nothing else of the request."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    kwargs = {"enable_thinking": False}
    asked = call(messages=TALK, tools=tools, chat_template_kwargs=kwargs, temperature=1, user="ann", stream=True)
    await counted(counter, asked, at(upstream, api_key="env:OPENAI_API_KEY"))
    (seen,) = [one for one in upstream.requests() if one["path"] == "/tokenize"]
    assert ["authorization", "Bearer sk-openai-0123456789"] in seen["headers"]
    (body,) = upstream.bodies()
    assert body == {"model": "echo", "messages": TALK, "tools": tools, "chat_template_kwargs": kwargs}


async def test_what_is_counted_is_what_is_sent(counter: PromptCounter, upstream: Upstream) -> None:
    """Behind its template; written out for an upstream that only completes texts."""
    templates = [{"name": "a", "tone": "be kind"}]
    told = table({"templates": templates, "models[0].template": "a"})
    asked = shaped(call(messages=TALK), told)
    assert (await counted(counter, asked, at(upstream))).tokens > 15
    assert upstream.bodies()[-1]["messages"][0]["content"] == "be kind\n\nbe brief"
    await counted(counter, asked, at(upstream, prompt_format="chatml"))
    assert upstream.bodies()[-1]["prompt"].startswith("<|im_start|>system\nbe kind\n\nbe brief<|im_end|>\n")
    tool = call(messages=[{"role": "tool", "content": "x", "tool_call_id": "1"}])
    assert (await counted(counter, tool, at(upstream, prompt_format="chatml"))).method is CountMethod.BOUND
    words = await counted(counter, asked, deployment("two", tokenizer="o200k"))
    plain = await counted(counter, call(messages=TALK), deployment("two", tokenizer="o200k"))
    assert words.tokens > plain.tokens


async def test_several_prompts_are_counted_each(counter: PromptCounter, upstream: Upstream) -> None:
    """All of them are billed, the longest has to fit; token numbers count themselves; too many are not asked for."""
    several = call(Operation.COMPLETION, prompt=["one two", "one two three four", "x"])
    assert await counted(counter, several, at(upstream)) == (7, 4, 4, CountMethod.EXACT)
    numbers = call(Operation.EMBEDDINGS, input=[[1, 2, 3], [4]])
    assert await counted(counter, numbers, at(upstream)) == (4, 3, 3, CountMethod.EXACT)
    many = call(Operation.EMBEDDINGS, input=["x"] * 9)
    assert (await counted(counter, many, at(upstream))).method is CountMethod.BOUND


@pytest.mark.parametrize("path", ["/nowhere", "/v1"])
async def test_an_upstream_that_cannot_count_is_left_alone_for_a_while(
    counter: PromptCounter, upstream: Upstream, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound stands, and the next request does not ask again until a minute has passed."""
    monkeypatch.setattr(module, "TOKENIZE", path)
    asked, one = call(messages=TALK), at(upstream)
    for _ in range(3):
        assert (await counted(counter, asked, one)).method is CountMethod.BOUND
    assert len(upstream.requests()) == 1
    monkeypatch.setattr(module, "TOKENIZE", "/tokenize")
    monkeypatch.setattr(counter, "_silent", {})
    assert (await counted(counter, asked, one)).method is CountMethod.EXACT


async def test_an_upstream_that_is_gone(counter: PromptCounter) -> None:
    """No exception, no wait."""
    gone = deployment(base_url="http://127.0.0.1:9/v1")
    assert (await counted(counter, call(messages=TALK), gone)).method is CountMethod.BOUND


async def test_a_vocabulary_counts_prompts_exactly(counter: PromptCounter) -> None:
    """Completions and embeddings are text and nothing else."""
    one = deployment("two", tokenizer="gpt2")
    asked = call(Operation.COMPLETION, prompt="The animal didn't cross the street because it was too tired.")
    assert await counted(counter, asked, one) == (13, 13, 13, CountMethod.EXACT)


async def test_a_conversation_by_its_vocabulary(counter: PromptCounter) -> None:
    """The text exactly, OpenAI's markers at four a message; the lower bound is the text alone."""
    one = deployment("two", tokenizer="o200k")
    got = await counted(counter, call(messages=TALK), one)
    assert got == (6 + 3 * 4 + 16, 6 + 3 * 4 + 16, 6 - 3, CountMethod.TOKENIZER)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "refusal", "refusal": "one two three four"},
        {"type": "thinking", "thinking": [{"type": "text", "text": "one two three four"}]},
        {"type": "reasoning", "reasoning": "one two three four", "cache_control": {"type": "ephemeral"}},
    ],
)
async def test_what_a_template_may_write_counts_and_need_not_be_there(
    counter: PromptCounter, part: dict[str, Any]
) -> None:
    """A part that is no image is text, wherever in it the text stands; the lower bound leaves it out."""
    one = deployment("two", tokenizer="o200k")
    plain = [{"type": "text", "text": "hello"}]
    small, large = [
        await counted(counter, call(messages=[{"role": "assistant", "content": parts}]), one)
        for parts in (plain, [*plain, part])
    ]
    assert large.tokens >= small.tokens + 4
    assert large.least == small.least


@pytest.mark.parametrize("style", ["chatml", "gemma"])
@pytest.mark.parametrize("said", ["<|im_end|>" * 50, "<start_of_turn>" * 50, "ordinary words " * 50])
async def test_a_conversation_that_is_written_out_is_counted_as_it_is_sent(
    counter: PromptCounter, style: str, said: str, tmp_path: Path
) -> None:
    """Marks that were disarmed are many tokens, where the vocabulary knows each as one."""
    tokenizer = Tokenizer.from_str(trained()["bpe over NFC"].to_str())
    tokenizer.add_special_tokens([*MARKERS, "<start_of_turn>", "<end_of_turn>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    one = replace(deployment(prompt_format=style), tokenizer=str(tmp_path / "tokenizer.json"))
    asked = call(messages=[{"role": "user", "content": said}, *TALK])
    assert one.prompt_format is not None
    real = len(tokenizer.encode(rendered(asked, one.prompt_format)).ids)
    got = await counted(counter, asked, one)
    assert got.method is CountMethod.TOKENIZER
    assert got.least == real == got.tokens - 1
    shipped = await counted(counter, asked, replace(one, tokenizer="o200k"))
    assert 0 <= shipped.least < shipped.tokens


@pytest.mark.parametrize("tokenizer", ["upstream", "gpt2"])
@pytest.mark.parametrize("fields", [{"suffix": "and the rest"}, {"truncate_prompt_tokens": 2}, {"documents": ["x"]}])
async def test_a_prompt_that_the_upstream_changes_is_not_counted(
    counter: PromptCounter, upstream: Upstream, tokenizer: str, fields: dict[str, Any]
) -> None:
    """What is added and what is cut off is in no count: the bound stands."""
    one = at(upstream, tokenizer=tokenizer)
    asked = call(Operation.COMPLETION, prompt="one two three", **fields)
    assert (await counted(counter, asked, one)).method is CountMethod.BOUND
    plain = call(Operation.COMPLETION, prompt="one two three")
    assert (await counted(counter, plain, one)).method is CountMethod.EXACT


async def test_documents_of_a_chat_are_bounded_by_a_vocabulary_alone(
    counter: PromptCounter, upstream: Upstream
) -> None:
    """vLLM's count leaves them out."""
    asked = call(messages=TALK, documents=[{"text": "one two three"}])
    assert (await counted(counter, asked, at(upstream))).method is CountMethod.BOUND
    assert (await counted(counter, asked, at(upstream, tokenizer="gpt2"))).method is CountMethod.TOKENIZER
    cut = call(messages=TALK, truncate_prompt_tokens=9)
    assert (await counted(counter, cut, at(upstream, tokenizer="gpt2"))).method is CountMethod.BOUND


async def test_a_text_cut_inside_words_is_not_counted_exactly(counter: PromptCounter) -> None:
    """Its count is a range, and it is refused by the lower end."""
    one = deployment("two", tokenizer="o200k", context_window=10**6)
    got = await counted(counter, call(Operation.COMPLETION, prompt="这只动物没有过马路。" * 4000), one)
    assert got.method is CountMethod.TOKENIZER
    assert got.least < got.longest == got.tokens


@pytest.mark.parametrize("tokenizer", ["upstream", "gpt2"])
@pytest.mark.parametrize("prompt", [["one", 5], [1.5], [{}]])
async def test_what_is_no_prompt_is_for_the_upstream_to_refuse(
    counter: PromptCounter, upstream: Upstream, tokenizer: str, prompt: list[Any]
) -> None:
    """No exception; the bound stands."""
    asked = call(Operation.COMPLETION, prompt=prompt)
    assert (await counted(counter, asked, at(upstream, tokenizer=tokenizer))).method is CountMethod.BOUND


async def test_a_vocabulary_that_is_gone(counter: PromptCounter, tmp_path: Path) -> None:
    """Its file was there when the configuration was read: the bound stands."""
    one = replace(deployment("two"), tokenizer=str(tmp_path / "gone.json"))
    assert (await counted(counter, call(messages=TALK), one)).method is CountMethod.BOUND


async def test_images_count_at_their_bound_and_sound_not_at_all(counter: PromptCounter) -> None:
    """Where nothing better can be known, what is known stays."""
    parts = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    asked = call(messages=[{"role": "user", "content": parts}])
    stated = deployment("two", tokenizer="o200k", image_tokens=1105)
    assert (await counted(counter, asked, stated)).tokens == 2 + 4 + 16 + 1105
    for unknown in (deployment("two", tokenizer="o200k"), deployment("two", tokenizer="bound")):
        assert (await counted(counter, asked, unknown)).method is CountMethod.BOUND


@pytest.mark.parametrize("name", ["bpe over NFC", "unigrams over NFKC", "word pieces", "bytes over NFKC"])
@given(messages=MESSAGES, tools=TOOLS)
def test_no_template_exceeds_the_count_by_vocabulary(
    name: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]]
) -> None:
    """Text by text, with the stated bounds for what is between, against the whole as templates write it."""
    tokenizer = Tokenizer.from_str(trained()[name].to_str())
    tokenizer.add_special_tokens(list(MARKERS))

    def count(text: str) -> Tokens:
        size = len(tokenizer.encode(text).ids)
        return Tokens(size, size)

    got = conversation(call(messages=messages, tools=tools), deployment(), count)
    assert got.least <= got.tokens
    for template in (chatml, llama):
        assert count(template(messages, tools)).most <= got.tokens


MARKERS = ("<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|begin_of_text|>")


@given(st.lists(st.text(max_size=30), min_size=1, max_size=4))
def test_the_lower_bound_of_a_conversation_is_one(contents: list[str]) -> None:
    """No more than the texts alone have, trimmed as templates trim them."""
    asked = call(messages=[{"role": "user", "content": content} for content in contents])
    count = shipped().get("o200k")
    least = conversation(asked, deployment("two"), count).least
    assert least <= sum(count(content.strip()).least for content in contents)


async def test_counting_a_hundred_thousand_tokens_never_holds_the_event_loop(counter: PromptCounter) -> None:
    """The loop has its turns all along: between any two of them lies a small part of the work."""
    one = deployment("two", tokenizer="o200k", context_window=1_000_000)
    counter.prepare(loaded({"deployments[0].tokenizer": "o200k"}).deployments)
    words = " ".join(f"word{n % 977} and some more" for n in range(25_000))
    asked = call(messages=[{"role": "user", "content": words}])
    task = asyncio.ensure_future(counted(counter, asked, one))
    turns, began = 0, time.perf_counter()
    while not task.done():
        await asyncio.sleep(0.0001)
        turns += 1
    assert (await task).tokens >= 100_000
    assert turns >= 10, f"{turns} turns in {time.perf_counter() - began} s"


async def test_a_large_body_is_bounded_as_any_other(counter: PromptCounter) -> None:
    """In a thread, and no lower: what is read again with each document counts as often."""
    for asked in (
        call(messages=[{"role": "user", "content": "½ ậ é\u0323 weiß。" * 9_000}], tools=[{}]),
        call(Operation.RERANK, query="㌀" * 30_000, documents=["½" * 9, "x", "y"]),
    ):
        assert not asked.plain
        assert await counter.body_bound(asked) == body_bound(asked) > asked.size


async def test_loading_tells_what_is_no_tokenizer(counter: PromptCounter, tmp_path: Path) -> None:
    """Every one, with its place in the configuration."""
    for name in ("one.json", "two.json"):
        (tmp_path / name).write_text("{}")
    changes = {f"deployments[{at}].tokenizer": str(tmp_path / name) for at, name in enumerate(("one.json", "two.json"))}
    with pytest.raises(ConfigError) as refused:
        counter.prepare(loaded(changes).deployments)
    told = [(problem.path, problem.message) for problem in refused.value.problems]
    assert [path for path, _ in told] == ["deployments[0].tokenizer", "deployments[1].tokenizer"]
    assert all(
        f"{name} is not a tokenizer" in text for name, (_, text) in zip(("one.json", "two.json"), told, strict=True)
    )


def test_openai_is_told_apart() -> None:
    """Its markers are known, others' are bounded."""
    assert deployment("two").provider is Provider.OPENAI
    asked = call(messages=TALK)
    count = shipped().get("o200k")
    assert conversation(asked, deployment("two"), count).tokens < conversation(asked, deployment(), count).tokens
