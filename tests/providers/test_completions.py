"""Chats over upstreams that only complete texts: what is sent, and what the caller gets, by OpenAI's own types."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from app.errors import GatewayError
from app.exchange import Event, JsonObject, Operation
from app.pipeline.call import Decoder
from app.providers.completions import Completions
from app.providers.openai import OpenAI
from app.providers.vllm import Vllm
from tests.pipeline.parts import call, deployment
from tests.providers.test_openai import capture, stream_of

ONE = deployment(prompt_format="chatml")
TWO = deployment("two", prompt_format="zephyr")
DIALECT = Completions(Vllm())


def sent(one: Any = ONE, operation: Operation = Operation.CHAT, **fields: Any) -> tuple[str, JsonObject]:
    """Where a request goes, and its body."""
    outbound = (DIALECT if one is ONE else Completions(OpenAI())).encode(call(operation, **fields), one, "req_1")
    return outbound.path, orjson.loads(outbound.body)


def events(decoder: Decoder, data: bytes) -> list[Event]:
    """What a whole stream holds."""
    found = decoder.feed(data)
    assert decoder.failure is None
    return found


def test_a_chat_is_written_out() -> None:
    """The upstream completes a text; it stops where the assistant's turn ends, and says so in the text."""
    path, body = sent(stop="x", max_completion_tokens=9, temperature=0, top_k=5, user="u", n=2, odd=[1])
    assert path == "/completions"
    assert body == {
        "model": "upstream-model",
        "prompt": "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
        "max_tokens": 9,
        "stop": ["x", "<|im_end|>", "<|im_start|>"],
        "temperature": 0,
        "top_k": 5,
        "user": "u",
        "n": 2,
        "odd": [1],
        "skip_special_tokens": False,
    }


def test_an_upstream_that_is_no_vllm_gets_no_wish_of_vllms() -> None:
    """Only what OpenAI's completions know."""
    path, body = sent(TWO, stream=True, logprobs=True, top_logprobs=3)
    assert path == "/completions"
    assert body == {
        "model": "other-model",
        "prompt": "<|user|>\nhi</s>\n<|assistant|>\n",
        "stop": ["</s>", "<|user|>"],
        "logprobs": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"chat_template": "x"}, "chat_template"),
        ({"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs"),
        ({"stop": [1]}, "stop"),
        ({"logprobs": "yes"}, "logprobs"),
        ({"top_logprobs": "5"}, "top_logprobs"),
        ({"thinking": {"type": "enabled"}}, "thinking"),
        ({"prompt": "You are root."}, "prompt"),
        ({"prompt_embeds": "AAAA"}, "prompt_embeds"),
        ({"best_of": 20}, "best_of"),
        ({"suffix": "x"}, "suffix"),
        ({"echo": True}, "echo"),
        ({"use_beam_search": True}, "use_beam_search"),
    ],
)
def test_what_has_no_place_in_a_completion(fields: dict[str, Any], param: str) -> None:
    """A 400 that names it; nothing is dropped in silence."""
    with pytest.raises(GatewayError) as refused:
        sent(**fields)
    assert (refused.value.code_name, refused.value.param) == ("invalid_request", param)


def test_what_asks_for_nothing_is_left_out() -> None:
    """And what the operator says may be dropped is."""
    fields: JsonObject = {"tools": [], "parallel_tool_calls": True, "logprobs": False, "documents": [{"text": "x"}]}
    fields |= {"echo": False, "suffix": None}
    assert set(sent(**fields)[1]) == {"model", "prompt", "stop", "skip_special_tokens"}
    dropping = deployment(prompt_format="chatml", drop_params=["tools"])
    outbound = DIALECT.encode(call(tools=[{"type": "function"}]), dropping, "req_1")
    assert "tools" not in orjson.loads(outbound.body)


def test_what_the_gateway_writes_is_nobody_elses() -> None:
    """Without the marks in the text no answer would end where its turn does."""
    assert sent(skip_special_tokens=True)[1]["skip_special_tokens"] is False


def test_other_operations_are_the_dialects_own() -> None:
    """A completion is one already; what is counted is the text that would be completed."""
    assert sent(operation=Operation.COMPLETION) == ("/completions", {"model": "upstream-model", "prompt": "hi"})
    assert sent(operation=Operation.EMBEDDINGS)[0] == "/embeddings"
    talk = [{"role": "user", "content": "hi"}]
    body = {"model": "chat", "messages": talk}
    asked = call(Operation.TOKENIZE)._replace(body=body)
    counted = orjson.loads(DIALECT.encode(asked, ONE, "req_1").body)
    assert counted == {"model": "upstream-model", "prompt": "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"}


def whole(**choice: Any) -> bytes:
    """A completion's answer."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    one = {"index": 0, "text": " Paris.", "logprobs": None, "finish_reason": "stop", **choice}
    doc = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [one], "usage": usage}
    return orjson.dumps(doc)


def test_an_answer_is_a_chats() -> None:
    """By OpenAI's own type; the space before it is the format's, unless it goes on where the prompt ended."""
    (event,) = DIALECT.decoder(call()).body(whole())
    answer = ChatCompletion.model_validate_json(event.data, strict=True)
    assert (answer.object, answer.choices[0].message.content) == ("chat.completion", "Paris.")
    assert answer.choices[0].message.role == "assistant"
    assert orjson.loads(event.data) == event.doc
    assert event.usage is not None
    assert event.usage.output_tokens == 2
    (event,) = DIALECT.decoder(call(continue_final_message=True)).body(whole())
    assert event.doc["choices"][0]["message"]["content"] == " Paris."


def test_logprobs_are_a_chats() -> None:
    """Token by token, with the likeliest others."""
    logprobs = {
        "tokens": [" Par", "is"], "token_logprobs": [-0.5, None], "text_offset": [0, 4],
        "top_logprobs": [{" Par": -0.5, " Rom": -2.0}, None],
    }  # fmt: skip
    (event,) = DIALECT.decoder(call(logprobs=True)).body(whole(logprobs=logprobs))
    told = event.doc["choices"][0]["logprobs"]["content"]
    assert [one["token"] for one in told] == [" Par", "is"]
    assert [one["token"] for one in told[0]["top_logprobs"]] == [" Par", " Rom"]
    assert told[0]["bytes"] == [32, 80, 97, 114]


@pytest.mark.parametrize("dialect", [Completions(Vllm()), Completions(OpenAI())], ids=["vllm", "openai"])
def test_a_stream_is_a_chats(dialect: Completions) -> None:
    """A real vLLM's: every chunk by OpenAI's own type, the text whole, the role once, the usage hidden or shown."""
    name = "completion-stream-usage"
    said = "".join(
        choice["text"]
        for line in stream_of(name).decode().splitlines()
        if line.startswith("data: {")
        for choice in orjson.loads(line[6:])["choices"]
    )
    asked = call(stream=True, stream_options={"include_usage": True})
    found = events(dialect.decoder(asked), stream_of(name))
    chunks = [ChatCompletionChunk.model_validate_json(event.data) for event in found]
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == said.lstrip(" ")
    assert [delta.role for delta in deltas if delta.role] == ["assistant"]
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert sum(event.tokens for event in found) >= 3
    assert [orjson.loads(event.data) for event in found] == [event.doc for event in found]


def test_every_choice_has_its_role() -> None:
    """Each begins once."""
    decoder = DIALECT.decoder(call(stream=True, n=2))
    pieces = [
        orjson.dumps({"choices": [{"index": index, "text": text, "finish_reason": None}]})
        for index, text in ((0, "a"), (1, "b"), (0, "c"))
    ]
    found = [event for piece in pieces for event in decoder.feed(b"data: %b\n\n" % piece)]
    assert [event.doc["choices"][0]["delta"].get("role") for event in found] == ["assistant", "assistant", None]
    assert decoder.glance(b"data: {}\n\n") == b""


@pytest.mark.parametrize("text", [5, ["x"], {"a": 1}])
def test_what_is_no_text_breaks_the_stream(text: Any) -> None:
    """It is a failure of the upstream, and what came before it is not lost."""
    decoder = DIALECT.decoder(call(stream=True))
    pieces = [orjson.dumps({"choices": [{"index": 0, "text": one, "finish_reason": None}]}) for one in ("a", text)]
    found = decoder.feed(b"".join(b"data: %b\n\n" % piece for piece in pieces))
    assert len(found) == 1
    assert decoder.failure is not None
    assert decoder.failure.error == 502
    with pytest.raises(ValueError, match="choices"):
        DIALECT.decoder(call()).body(whole(text=text))


def test_an_error_stays_what_it_is() -> None:
    """In a stream, instead of an answer, and as a status."""
    decoder = DIALECT.decoder(call(stream=True))
    assert decoder.feed(b'data: {"error": {"message": "x", "code": 503}}\n\n') == []
    assert decoder.failure is not None
    assert decoder.failure.error == 503
    decoder = DIALECT.decoder(call())
    assert decoder.body(b'{"error": {"message": "x", "code": 400}}') == []
    assert decoder.failure is not None
    assert DIALECT.error(404, {}, b"{}", ONE).status == 404


def test_the_capture_is_what_it_says() -> None:
    """A stream of a completion: the tests above test something."""
    assert capture("completion-stream-usage")["request"]["path"] == "/v1/completions"
