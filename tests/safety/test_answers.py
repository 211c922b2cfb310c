"""Every text of every choice is watched, whatever it is called; a cut ends the stream as SDKs expect it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from app.exchange import Event, JsonObject
from app.pipeline.report import Hit
from tests.safety.guarding import BOTH, Stream, chunk, ends, policy, said

CARD = "4111 1111 1111 1111"


def parts(text: str, size: int = 3) -> list[str]:
    """A text in pieces."""
    return [text[place : place + size] for place in range(0, len(text), size)]


async def test_what_is_clean_goes_through_untouched() -> None:
    """The same events, the same bytes."""
    stream = Stream(policy())
    event = Event(b'{"as":"it came"}', chunk({"role": "assistant", "content": ""}))
    assert stream.watch.feed([event], 1.0) == [event]
    event = Event(b'{"as":"it came"}', chunk("Hello, "))
    assert stream.watch.feed([event], 1.0)[0].data == b'{"as":"it came"}'


async def test_redacted_text_leaves_in_order() -> None:
    """The last word waits for what follows; everything has left at the end."""
    stream = Stream(policy())
    docs = await stream.docs(
        *[chunk(part) for part in parts(f"Pay {CARD} to bob@example.com now")], chunk({}, finish="stop")
    )
    assert said(docs) == "Pay [CARD] to [EMAIL] now"
    assert ends(docs) == {0: "stop"}
    assert set(stream.report.hits) == {Hit("completion", "pii", 6, "redact", "pii")}


async def test_a_block_ends_the_stream() -> None:
    """What was clean has left, then the filter's end; what came behind never does."""
    stream = Stream(policy())
    docs = await stream.docs(*[chunk(part) for part in parts("It is the internal codename, you know")])
    assert said(docs) == "It is the "
    assert ends(docs) == {0: "content_filter"}
    assert stream.watch.cut
    assert docs[-1]["choices"][0]["content_filter_results"]["custom_blocklists"] == {"filtered": True, "detected": True}


async def test_a_block_ends_the_other_choices_too() -> None:
    """The upstream is cancelled, so nobody waits for more of them."""
    stream = Stream(policy(), n=3)
    docs = await stream.docs(
        chunk("fine ", "the ", "ok "), chunk({}, finish="stop"), chunk("internal codename", index=1)
    )
    assert ends(docs) == {0: "stop", 1: "content_filter", 2: "content_filter"}
    assert said(docs, 1) == "the "


@pytest.mark.parametrize("name", ["content", "reasoning_content", "reasoning", "refusal", "whatever_comes_next"])
async def test_every_text_is_watched(name: str) -> None:
    """Known or not."""
    stream = Stream(policy())
    docs = await stream.docs(*[chunk({name: part}) for part in parts("so the internal codename is")])
    assert said(docs, name=name) == "so the "
    assert stream.watch.cut


def call_piece(number: int, arguments: str, **fields: Any) -> JsonObject:
    """A piece of one tool call."""
    return {"tool_calls": [{"index": number, "function": {"arguments": arguments}, **fields}]}


async def test_each_tool_call_is_a_text_of_its_own() -> None:
    """Pieces of two calls take turns; names stay whole; what waits leaves with the end."""
    stream = Stream(policy())
    opening = {"index": 0, "id": "a", "type": "function", "function": {"name": "get_weather", "arguments": ""}}
    docs = await stream.docs(chunk({"tool_calls": [opening]}))
    assert docs[0]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "get_weather"
    one, two = parts('{"mail": "bob@example.com"}'), parts('{"x": "\\u0062ob@example.org", "y": 1}')
    for left, right in zip(one, two, strict=False):
        docs += await stream.docs(chunk(call_piece(0, left)), chunk(call_piece(1, right)))
    for right in two[len(one) :]:
        docs += await stream.docs(chunk(call_piece(1, right)))
    docs += await stream.docs(chunk({}, finish="tool_calls"))
    made = ["", ""]
    for doc in docs:
        for piece in doc["choices"][0]["delta"].get("tool_calls", []):
            made[piece["index"]] += piece["function"].get("arguments") or ""
    assert made == ['{"mail": "[EMAIL]"}', '{"x": "[EMAIL]", "y": 1}']


async def test_a_block_in_arguments_ends_the_stream() -> None:
    """A tool gets no part of it."""
    stream = Stream(policy())
    docs = await stream.docs(*[chunk(call_piece(0, part)) for part in parts('{"q": "the internal\\u0020codename"}')])
    text = "".join(
        piece["function"]["arguments"] for doc in docs for piece in doc["choices"][0]["delta"].get("tool_calls", [])
    )
    assert text == '{"q": "the '
    assert ends(docs) == {0: "content_filter"}


async def test_log_probabilities_do_not_tell_what_is_held() -> None:
    """They repeat the text token by token."""
    doc = chunk("hello internal ")
    doc["choices"][0]["logprobs"] = {"content": [{"token": "internal"}]}
    out = await Stream(policy()).docs(doc)
    assert "internal" not in orjson.dumps(out).decode()


async def test_an_end_that_is_not_told_lets_go_what_waits() -> None:
    """Some upstreams end with `[DONE]` alone."""
    docs = await Stream(policy()).docs(chunk("hello wor"), chunk("ld"), ends=True)
    assert said(docs) == "hello world"


async def test_completions_are_watched_too() -> None:
    """Their text is called otherwise."""
    stream = Stream(policy(), prompt="hi")
    texts = [
        {"id": "c", "choices": [{"index": 0, "text": part, "finish_reason": None}]} for part in parts(f"Pay {CARD} ")
    ]
    docs = await stream.docs(*texts, {"id": "c", "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]})
    assert "".join(choice["text"] for doc in docs for choice in doc["choices"]) == "Pay [CARD] "


def whole(*texts: str) -> JsonObject:
    """An answer that is not streamed."""
    choices = [
        {"index": index, "message": {"role": "assistant", "content": text, "refusal": None}, "finish_reason": "stop"}
        for index, text in enumerate(texts)
    ]
    return {"id": "c", "choices": choices, "usage": {"prompt_tokens": 1}}


async def test_of_a_whole_answer_each_choice_stands_for_itself() -> None:
    """One that is blocked does not touch the others; usage stays."""
    stream = Stream(policy(), stream=False, n=3)
    (doc,) = await stream.docs(whole("fine", "the internal codename", f"Pay {CARD}"), ends=True)
    assert [choice["message"]["content"] for choice in doc["choices"]] == ["fine", "the ", "Pay [CARD]"]
    assert ends([doc]) == {0: "stop", 1: "content_filter", 2: "stop"}
    assert doc["usage"] == {"prompt_tokens": 1}
    assert stream.report.cut


async def test_the_guards_own_text_takes_the_place_of_what_was_blocked() -> None:
    """At the end of what had left."""
    guard = policy(completion={**BOTH, "safe_text": "[stopped]"})
    assert said(await Stream(guard).docs(chunk("the "), chunk("internal codename"))) == "the [stopped]"
    (doc,) = await Stream(guard, stream=False).docs(whole("the internal codename"))
    assert doc["choices"][0]["message"]["content"] == "the [stopped]"


async def test_findings_are_told_where_that_is_asked_for() -> None:
    """In Azure's shape, with each choice's last chunk."""
    stream = Stream(policy(completion={"detectors": ["pii"], "actions": {"pii": "annotate"}}))
    docs = await stream.docs(chunk(f"Pay {CARD}. "), chunk({}, finish="stop"))
    assert said(docs) == f"Pay {CARD}. "
    results = docs[-1]["choices"][0]["content_filter_results"]
    assert results == {"personally_identifiable_information": {"filtered": False, "detected": True}}


async def test_the_longest_wait_is_told() -> None:
    """By the clock that it is given."""
    stream = Stream(policy())
    await stream.docs(chunk("hello wor"))
    stream.now = 1.5
    await stream.docs(chunk("ld"))
    stream.now = 3.0
    await stream.docs(chunk(" and so "))
    assert stream.report.held == pytest.approx(2.0)


async def test_garbage_is_not_a_crash() -> None:
    """What an upstream sends in places where texts are expected."""
    stream = Stream(policy())
    for odd in (
        {"content": 5},
        {"content": ["a", 7, None]},
        {"tool_calls": ["x", None]},
        {"tool_calls": {"a": "b"}},
        {},
    ):
        await stream.docs(chunk(odd))
    await stream.docs({"choices": [{"index": 0, "delta": None}]}, {"choices": []}, {"usage": {}}, ends=True)


SECRET = "the internal codename"


@pytest.mark.parametrize(
    "more",
    [
        {"message": {"content": "fine"}, "text": SECRET},
        {"message": {"content": "fine"}, "delta": {"content": SECRET}},
        {"message": {"content": "fine", "data": {"transcript": SECRET}}},
        {"message": {"content": "fine", "format": [SECRET]}},
        {"message": {"content": "fine", "arguments": '"the internal\\u0020codename"'}},
        {"message": SECRET},
        {"message": [SECRET]},
        {"delta": {"content": SECRET}},
    ],
)
async def test_a_plain_answer_says_nothing_unseen(more: JsonObject) -> None:
    """Wherever in a choice it stands, beside whatever else."""
    (doc,) = await Stream(policy(), stream=False).docs({"id": "c", "choices": [{"index": 0, **more}]}, ends=True)
    assert "codename" not in orjson.dumps(doc).decode()
    assert ends([doc]) == {0: "content_filter"}


@pytest.mark.parametrize("more", [{"text": SECRET}, {"message": {"content": SECRET}}, {"token_ids": [7, 8]}])
async def test_a_piece_of_a_stream_says_nothing_beside_its_delta(more: JsonObject) -> None:
    """A delta of the usual form does not hide what stands next to it."""
    opening, piece = chunk("well "), chunk("fine ")
    piece["choices"][0] |= more
    docs = await Stream(policy()).docs(opening, piece, chunk("and so "))
    left = orjson.dumps(docs).decode()
    assert "codename" not in left
    assert "[7,8]" not in left


@pytest.mark.parametrize("turn", [1, -1])
async def test_an_upstream_that_changes_its_mind_about_a_field_breaks_nothing(turn: int) -> None:
    """Text where a list was, or a list where text was: what came first is told at the end."""
    stream = Stream(policy())
    assert await stream.docs(*[chunk({"field": value}) for value in ("inter", ["inter"])[::turn]])
    (rest,) = stream.watch.feed(None, 2.0)
    assert rest.doc["choices"][0]["delta"] == {"field": ("inter", ["inter"])[::turn][0]}


async def test_what_leaves_at_the_end_leaves_once_where_the_end_is_a_cut() -> None:
    """What could have become a key is let go, what stands behind it is blocked."""
    stream = Stream(policy(blocklist=["bomb"]))
    clean = "a" * 40 + "sk-"
    docs = await stream.docs(chunk(f"{clean}bomb"), ends=True)
    assert said(docs) == clean
    assert ends(docs)[0] == "content_filter"
