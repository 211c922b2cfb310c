"""Chat completions as responses, valid by OpenAI's SDK."""

from __future__ import annotations

import base64
from typing import Any

import orjson
from openai.types.responses import Response

from app.api.responses.answer import finished, frame, ids, usage_document, whole
from app.api.responses.items import SEALED
from app.api.responses.request import understand
from app.exchange import JsonObject, Operation, Usage
from app.pipeline.progress import Progress
from tests.providers.dialogues import SCHEMA

USAGE = Usage(17, 50, 4, 3, 20)


def progress(**fields: Any) -> Progress:
    """A request under way."""
    found = Progress("req_7", Operation.CHAT)
    found.call = understand(Operation.CHAT, orjson.dumps({"model": "m", "input": "hi", **fields}))
    return found


def response(message: JsonObject, asked: Progress | None = None, **choice: Any) -> Response:
    """What the SDK makes of it."""
    said = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": "stop", **choice}
    return Response.model_validate(whole({"id": "x", "model": "up", "choices": [said]}, USAGE, asked or progress()))


def test_thoughts_text_and_calls() -> None:
    """An item each, in order; signed thoughts are sealed."""
    blocks = [{"type": "thinking", "thinking": "hm", "signature": "s"}]
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"a": 1}}]
    found = response({"content": "hi", "reasoning_content": "hm", "thinking_blocks": blocks, "tool_calls": calls})
    reasoning, said, call = found.output
    assert (reasoning.type, said.type, call.type) == ("reasoning", "message", "function_call")
    assert reasoning.type == "reasoning"
    sealed = reasoning.encrypted_content or ""
    assert orjson.loads(base64.b64decode(sealed.removeprefix(SEALED))) == blocks
    assert (found.output_text, found.id, found.model, found.status) == ("hi", "resp_7", "up", "completed")
    assert call.model_dump()["extra_content"] == {"a": 1}


def test_ends() -> None:
    """Complete, or why not; a filter's categories ride along."""
    assert response({"content": "x"}).incomplete_details is None
    cut = response({"content": "x"}, finish_reason="length")
    assert cut.incomplete_details is not None
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    results = {"hate": {"filtered": True}}
    filtered = response({"content": ""}, finish_reason="content_filter", content_filter_results=results)
    assert filtered.incomplete_details is not None
    assert (filtered.incomplete_details.reason, filtered.model_dump()["content_filter_results"]) == (
        "content_filter",
        results,
    )
    assert response({"refusal": "no"}).output[0].model_dump()["content"][0]["refusal"] == "no"


def test_usage() -> None:
    """Once, in its shape."""
    usage = response({"content": "x"}).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (17, 50, 67)
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (4, 20)
    assert usage_document(None) is None


def test_what_was_asked_is_told_again() -> None:
    """As the SDK expects it."""
    tool = {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True}
    asked = progress(
        instructions="s", tools=[tool], tool_choice={"type": "function", "name": "f"}, temperature=0.5,
        text={"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}, max_output_tokens=9,
    )  # fmt: skip
    told = response({"content": "x"}, asked).model_dump(by_alias=True)
    assert (told["instructions"], told["temperature"], told["max_output_tokens"], told["store"]) == ("s", 0.5, 9, False)
    assert told["tools"][0]["name"] == "f"
    assert told["text"]["format"]["schema"] == SCHEMA
    assert frame(Progress("req_7", Operation.CHAT), None)["output"] == []


def test_parts() -> None:
    """Ids name the request and the place; an end without a reason is one."""
    assert ids("req_7", "msg", 2) == "msg_7_2"
    assert finished({}, {}, None)["status"] == "completed"
