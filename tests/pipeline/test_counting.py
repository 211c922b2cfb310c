"""The bound from bytes holds for every tokenizer and chat template that we can lay hands on."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.config import FORMATS
from app.exchange import Call, CountMethod, Operation, Scaffold
from app.pipeline import counting
from app.pipeline.counting import LARGE, body_bound, bound, growth, texts, tools_bound
from app.pipeline.outgoing import told_first
from app.providers.rendering import rendered
from tests.pipeline.parts import call, deployment
from tests.support.vocabularies import counters

WIDE: dict[str, Any] = {"context_window": 10**9, "max_output_tokens": 64}
VLLM = deployment(**WIDE)
MARKS = [chr(point) for point in range(0x300, 0x370)]
AWKWARD = ["ﷺ", "½", "ำ", "㌀", "क़", "é", "ễ", "한", "ﬁ", "𝅗𝅥", "İ", "\u0323", "\u0302", "🙂", "\x00", "\u200d"]
TEXTS = st.text(max_size=60) | st.lists(st.sampled_from([*AWKWARD, *MARKS, "a", " "]), max_size=40).map("".join)
ROLES = st.sampled_from(["system", "user", "assistant", "tool", "developer"])
MESSAGES = st.lists(st.fixed_dictionaries({"role": ROLES, "content": TEXTS}), min_size=1, max_size=5)
SPEAKERS = st.sampled_from(["system", "user", "assistant", "developer"])
SAID = st.lists(st.fixed_dictionaries({"role": SPEAKERS, "content": TEXTS}), min_size=1, max_size=5)
SCHEMAS = st.recursive(
    st.fixed_dictionaries({"type": st.sampled_from(["string", "integer"]), "description": TEXTS}),
    lambda inner: st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(st.text(max_size=9), inner, max_size=3)}
    ),
    max_leaves=6,
)
TOOLS = st.lists(
    SCHEMAS.map(lambda schema: {"type": "function", "function": {"name": "f", "parameters": schema}}), max_size=3
)


def chatml(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
    """As Qwen's template writes a conversation, its own system prompt and tools included."""
    head = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    if tools:
        head += "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n<tools>"
        head += "".join(f"\n{json.dumps(tool, ensure_ascii=False)}" for tool in tools)
        head += "\n</tools>\n\nFor each function call, return a json object within <tool_call></tool_call> tags.\n"
    turns = "".join(f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in messages)
    return f"{head}{turns}<|im_start|>assistant\n"


def llama(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
    """As Llama 3.1's template does: tools in JSON that is indented by four."""
    head = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nEnvironment: ipython\nCutting Knowledge "
    head += "Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
    for tool in tools:
        head += f"{json.dumps(tool, ensure_ascii=False, indent=4)}\n\n"
    turns = "".join(
        f"<|start_header_id|>{one['role']}<|end_header_id|>\n\n{one['content']}<|eot_id|>" for one in messages
    )
    return f"{head}{turns}<|start_header_id|>assistant<|end_header_id|>\n\n"


def plain(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str:
    """As templates do whose markers are ordinary text."""
    head = "".join(f"{json.dumps(tool, ensure_ascii=False)}\n" for tool in tools)
    return head + "".join(f"\n\n### {one['role']}:\n{one['content']}</s>" for one in messages) + "\n\n### Response:\n"


@pytest.mark.parametrize("name", counters())
@given(messages=MESSAGES, tools=TOOLS)
@example(messages=[{"role": "user", "content": "ﷺ" * 40}], tools=[])
@example(messages=[{"role": "user", "content": "e\u0302\u0323" * 20}], tools=[])
@example(messages=[{"role": "user", "content": ""}] * 5, tools=[])
def test_no_tokenizer_and_no_template_exceeds_the_bound(
    name: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]]
) -> None:
    """Whatever is asked, in three templates, tools included."""
    asked = call(messages=messages, tools=tools)
    most = bound(asked, VLLM).tokens
    for template in (chatml, llama, plain):
        assert counters()[name](template(messages, tools)) <= most


@pytest.mark.parametrize("name", counters())
@given(text=TEXTS)
def test_no_tokenizer_exceeds_the_bound_of_a_plain_prompt(name: str, text: str) -> None:
    """Completions and embeddings: the text alone, special tokens around it included."""
    for operation, field in ((Operation.COMPLETION, "prompt"), (Operation.EMBEDDINGS, "input")):
        assert counters()[name](text) + 2 <= bound(call(operation, **{field: text}), VLLM).tokens


@pytest.mark.parametrize("name", ["bytes over NFKC", "bpe over NFC"])  # the first makes as many as there can be
@pytest.mark.parametrize("style", sorted(FORMATS))
@given(messages=SAID, first=TEXTS.filter(str.strip))
@example(messages=[{"role": "user", "content": ""}] * 5, first="ﷺ")
def test_no_scaffold_and_no_format_exceeds_the_bound(
    name: str, style: str, messages: list[dict[str, Any]], first: str
) -> None:
    """What is sent to an upstream that only completes texts, the operator's template in front."""
    one = replace(VLLM, prompt_format=FORMATS[style], template_tokens=0)
    scaffold = Scaffold("a@1", first)
    asked = call(messages=messages)._replace(scaffolds={one.name: scaffold})
    sent = asked._replace(body={"messages": told_first(asked.body["messages"], scaffold)})
    assert counters()[name](rendered(sent, FORMATS[style])) <= bound(asked, one).tokens


@given(TEXTS)
@example("".join(AWKWARD))
def test_growth_covers_both_normal_forms(text: str) -> None:
    """NFC and NFKC, in bytes."""
    size = len(text.encode())
    for form in ("NFC", "NFKC"):
        assert len(unicodedata.normalize(form, text).encode()) <= size + growth(text)


def test_growth_covers_every_character_and_every_pair_with_a_mark() -> None:
    """Each composed character before each common mark: reordering may cost bytes too."""
    composed = [chr(point) for point in range(0x80, 0x3100) if unicodedata.decomposition(chr(point))]
    for first in composed:
        for mark in ("", *MARKS[::7], "\u0323", "\u0345"):
            text = first + mark
            longest = max(len(unicodedata.normalize(form, text).encode()) for form in ("NFC", "NFKC"))
            assert longest <= len(text.encode()) + growth(text), ascii(text)


@given(TEXTS)
@example("e" + "\u0302\u0323" * 9)
def test_a_long_text_grows_slice_by_slice(text: str) -> None:
    """Never less than all at once, a mark's reordering more for each cut."""
    whole = growth(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_SLICE", 3)
        assert len(unicodedata.normalize("NFKC", text).encode()) <= len(text.encode()) + growth(text)
        assert growth(text) <= whole + 4 * (len(text) // 3)


@pytest.mark.parametrize("text", ["hello " * 9, "müde, weil … „ja“", "这只动物没有过马路"])
def test_text_as_it_is_commonly_written_hardly_grows(text: str) -> None:
    """A bound that doubled every German prompt would be of no use."""
    assert growth(text) <= 2


def test_a_plain_prompt_is_bounded_by_its_body_and_the_template() -> None:
    """ASCII and no escapes: nothing is looked at."""
    asked = call()
    assert asked.plain
    assert bound(asked, VLLM) == (asked.size + 512, asked.size + 512, 0, CountMethod.BOUND)
    assert bound(asked, deployment("two", **WIDE)).tokens == asked.size + 16


def test_images_have_the_bound_that_the_deployment_states() -> None:
    """Without one, and with sound or files, only the window is a bound."""
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    asked = call(messages=[{"role": "user", "content": [{"type": "text", "text": "what?"}, image, image]}])
    stated = deployment(image_tokens=1105, **WIDE)
    assert bound(asked, stated).tokens == asked.size + 512 + 2 * 1105
    assert bound(asked, VLLM).tokens == 10**9
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    assert bound(call(messages=[{"role": "user", "content": [sound]}]), stated).tokens == 10**9


def test_tools_cost_their_indentation_and_their_instructions() -> None:
    """None cost nothing."""
    assert tools_bound({"tools": []}) == tools_bound({}) == 0
    assert tools_bound({"tools": [{}]}) == 1024 + 2 * len("[\n  {}\n]")


def test_what_is_read_again_with_every_document_grows_as_often() -> None:
    """As its bytes do."""
    ranked = [call(Operation.RERANK, query="ﷺ", documents=["x"] * count) for count in (1, 5)]
    one, five = (body_bound(asked) - asked.size for asked in ranked)
    assert five == 5 * one == 5 * 30


def test_texts_are_found_wherever_they_stand() -> None:
    """Names of fields too: a template may write them."""
    assert list(texts({"a": ["b", {"c": "d"}, 1, None]})) == ["a", "b", "c", "d"]


def test_a_body_that_is_not_plain_is_looked_at() -> None:
    """Escapes and anything beyond ASCII."""
    asked: Call = call(messages=[{"role": "user", "content": "ﷺ"}])
    assert not asked.plain
    assert bound(asked, VLLM).tokens == asked.size + 512 + 30
    assert asked.size < LARGE
