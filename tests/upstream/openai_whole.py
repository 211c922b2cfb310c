"""Non-streamed answers of the OpenAI dialect, field by field as vLLM 0.32 and OpenAI's API send them."""

from __future__ import annotations

import base64
from array import array
from typing import Any

import orjson

from tests.upstream.dialect import Answer, Ask, Choice
from tests.upstream.engine import embedding, logprob
from tests.upstream.words import pieces


def body(ask: Ask, answer: Answer) -> bytes:
    """The JSON text."""
    return orjson.dumps(_embeddings(ask) if ask.operation == "embeddings" else _generated(ask, answer))


def is_openai(ask: Ask) -> bool:
    """Whether OpenAI's flavour was asked for, not vLLM's."""
    return ask.behaviour.openai


def _generated(ask: Ask, answer: Answer) -> dict[str, Any]:
    chat = ask.operation == "chat"
    choice = _chat_choice if chat else _completion_choice
    doc: dict[str, Any] = {
        "id": ask.answer_id,
        "object": "chat.completion" if chat else "text_completion",
        "created": ask.created,
        "model": ask.model,
        "choices": [choice(ask, each) for each in answer.choices],
        "service_tier": "default" if is_openai(ask) else None,
        "system_fingerprint": ask.fingerprint,
    }
    if is_openai(ask) and not chat:
        del doc["service_tier"]
    if answer.usage:
        doc["usage"] = usage(ask, answer, answer.usage)
    if not is_openai(ask):
        if chat:
            doc |= {"prompt_logprobs": None, "prompt_token_ids": None, "prompt_text": None}
        doc |= {"kv_transfer_params": None, "ec_transfer_params": None, "metrics": None}
    return doc


def usage(ask: Ask, answer: Answer, numbers: tuple[int, int], *, streamed: bool = False) -> dict[str, Any]:
    """The usage object. vLLM leaves null details out of streams."""
    prompt, completion = numbers
    cached = ask.behaviour.cached
    reasoning = sum(len(choice.reasoning) for choice in answer.choices)
    if is_openai(ask):
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached or 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
    doc: dict[str, Any] = {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
    }
    if cached is not None:
        doc["prompt_tokens_details"] = {"cached_tokens": cached, "created_cache_tokens": 0} | (
            {} if streamed else {"multimodal_tokens": None}
        )
    elif not streamed:
        doc["prompt_tokens_details"] = None
    if reasoning:
        doc["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    elif not streamed:
        doc["completion_tokens_details"] = None
    return doc


def _chat_choice(ask: Ask, choice: Choice) -> dict[str, Any]:
    text = "".join(choice.content)
    calls = [
        {"id": t.id, "type": "function", "function": {"name": t.name, "arguments": "".join(t.parts)}}
        for t in choice.tools
    ]
    refusal = "".join(choice.refusal) or None
    finish = choice.finish if ask.behaviour.finish else None
    logprobs = None if ask.logprobs is None else {"content": chat_logprobs(choice.content, ask.logprobs, 0)}
    if is_openai(ask):
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if calls or refusal else text,
            "refusal": refusal,
            "annotations": [],
        }
        message |= {"tool_calls": calls} if calls else {}
        return {"index": choice.index, "message": message, "logprobs": logprobs, "finish_reason": finish}
    message = {
        "role": "assistant",
        "content": text,
        "refusal": refusal,
        "annotations": None,
        "audio": None,
        "function_call": None,
    }
    message |= {"tool_calls": calls} if calls else {}
    message["reasoning"] = "".join(choice.reasoning) or None
    extras = {"stop_reason": None, "token_ids": None, "routed_experts": None}
    return {"index": choice.index, "message": message, "logprobs": logprobs, "finish_reason": finish, **extras}


def _completion_choice(ask: Ask, choice: Choice) -> dict[str, Any]:
    prompt = ask.prompts[choice.index // ask.choices] if ask.echo else ""
    tokens = (*pieces(prompt), *choice.content) if ask.echo and ask.logprobs is not None else choice.content
    doc = {
        "index": choice.index,
        "text": prompt + "".join(choice.content),
        "logprobs": None if ask.logprobs is None else completion_logprobs(tokens, ask.logprobs, 0, 0),
        "finish_reason": choice.finish if ask.behaviour.finish else None,
    }
    extras = (
        {}
        if is_openai(ask)
        else {
            "stop_reason": None,
            "token_ids": None,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "routed_experts": None,
        }
    )
    return doc | extras


def chat_logprobs(tokens: tuple[str, ...], top: int, position: int) -> list[dict[str, Any]]:
    """Chat's form: one object per token; the first alternative is the token itself."""
    found = []
    for k, token in enumerate(tokens):
        value = logprob(token, position + k)
        entry = {"token": token, "logprob": value, "bytes": list(token.encode())}
        others = [
            {"token": f" alt{j}", "logprob": value - j, "bytes": list(f" alt{j}".encode())} for j in range(1, top)
        ]
        found.append(entry | {"top_logprobs": ([dict(entry), *others] if top else [])})
    return found


def completion_logprobs(tokens: tuple[str, ...], top: int, position: int, offset: int) -> dict[str, Any]:
    """Completions' form: four parallel lists."""
    values = [logprob(token, position + k) for k, token in enumerate(tokens)]
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token)
    alternatives = [
        {token: value} | {f" alt{j}": value - j for j in range(1, top)}
        for token, value in zip(tokens, values, strict=True)
    ]
    return {"text_offset": offsets, "token_logprobs": values, "tokens": list(tokens), "top_logprobs": alternatives}


def _embeddings(ask: Ask) -> dict[str, Any]:
    dims = ask.doc.get("dimensions") or ask.behaviour.dims
    packed = ask.doc.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(ask.prompts):
        vector: Any = embedding(text, dims)
        data.append(
            {
                "index": index,
                "object": "embedding",
                "embedding": base64.b64encode(array("f", vector).tobytes()).decode() if packed else vector,
            }
        )
    factor = ask.behaviour.usage_factor
    doc: dict[str, Any] = {"object": "list", "model": ask.model, "data": data}
    if not is_openai(ask):
        doc = {"id": ask.answer_id, "object": "list", "created": ask.created, "model": ask.model, "data": data}
    if factor:
        numbers = ask.prompt_tokens * factor
        doc["usage"] = {"prompt_tokens": numbers, "total_tokens": numbers}
        doc["usage"] |= (
            {}
            if is_openai(ask)
            else {"completion_tokens": 0, "prompt_tokens_details": None, "completion_tokens_details": None}
        )
    return doc
