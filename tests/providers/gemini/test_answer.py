"""Gemini's answers, read: usage, parts, ends, blocks, log probabilities."""

from __future__ import annotations

from typing import Any

import pytest
from google.genai import types

from app.exchange import Usage
from app.providers.gemini.answer import (
    Said,
    delta_of,
    ending,
    error_status,
    filtered,
    logprobs_of,
    message_of,
    usage_of,
)

CALL = {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}
RATING = {"category": "HARM_CATEGORY_HATE_SPEECH", "probability": "HIGH", "blocked": True}


def said(*parts: Any, first_call: int = 0) -> Said:
    """What a candidate with these parts says."""
    candidate = {"content": {"parts": list(parts), "role": "model"}}
    types.Candidate.model_validate(candidate)
    return Said(candidate, first_call)


def test_usage_counts_thoughts_as_output_and_cache_as_input() -> None:
    """Once each; what is no number counts nothing."""
    reported = {
        "promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 7, "cachedContentTokenCount": 4,
        "toolUsePromptTokenCount": 2, "totalTokenCount": 24,
    }  # fmt: skip
    types.GenerateContentResponseUsageMetadata.model_validate(reported)
    assert usage_of(reported) == Usage(12, 12, 4, 0, 7)
    assert usage_of({"promptTokenCount": "x", "cachedContentTokenCount": 9}) == Usage(0, 0)
    assert usage_of(None) is None


def test_parts() -> None:
    """Text, thoughts, calls with and without an id; each says at least one token."""
    one = said(
        {"text": "hm", "thought": True}, {"text": "a"}, {"text": "b"}, CALL, {"functionCall": {"id": "i", "name": "g"}}
    )
    assert (one.thought, one.text, one.tokens) == ("hm", "ab", 5)
    first, second = one.calls
    assert first["function"] == {"name": "f", "arguments": '{"a":1}'}
    assert first["extra_content"] == {"google": {"thought_signature": "c2ln"}}
    assert first["id"].startswith("call_gemini_")
    assert (second["id"], second["function"]["arguments"], second["index"]) == ("i", "{}", 1)
    assert said({"text": ""}).tokens == 0
    with pytest.raises(ValueError, match="no known kind"):
        said({"executableCode": {"code": "x", "language": "PYTHON"}})


def test_messages_and_deltas() -> None:
    """A whole message has no indices; the first delta names the role."""
    one = said({"text": "hm", "thought": True}, CALL)
    assert message_of(one)["content"] is None
    assert "index" not in message_of(one)["tool_calls"][0]
    assert delta_of(one, first=True).keys() == {"role", "reasoning_content", "tool_calls"}
    assert delta_of(said({"text": "a"}), first=False) == {"content": "a"}
    assert delta_of(said(), first=True) == {"role": "assistant", "content": ""}


@pytest.mark.parametrize(
    ("reason", "called", "finish"),
    [
        ("STOP", False, "stop"), ("STOP", True, "tool_calls"), ("MAX_TOKENS", True, "length"),
        ("SAFETY", False, "content_filter"), ("RECITATION", False, "content_filter"), ("BRAND_NEW", False, "stop"),
        ("MALFORMED_FUNCTION_CALL", False, "stop"), ("PROHIBITED_CONTENT", False, "content_filter"),
    ],
)  # fmt: skip
def test_ends(reason: str, *, called: bool, finish: str) -> None:
    """In OpenAI's words, Gemini's beside it."""
    end = ending({"finishReason": reason}, called=called)
    assert (end["finish_reason"], end["native_finish_reason"]) == (finish, reason)
    assert ("content_filter_results" in end) is (finish == "content_filter")
    assert ending({}, called=called) == {"finish_reason": None}


def test_categories() -> None:
    """In our words where we have one; the reason where none is named."""
    assert filtered([RATING, {**RATING, "blocked": False}], "SAFETY") == {
        "hate": {"filtered": True, "severity": "high"}
    }
    assert filtered(None, "BLOCKLIST") == {"blocklist": {"filtered": True}}


def test_logprobs() -> None:
    """Chosen tokens with their alternatives."""
    one = {"token": "a", "logProbability": -0.5}
    result = {"chosenCandidates": [one], "topCandidates": [{"candidates": [one]}]}
    types.LogprobsResult.model_validate(result)
    found = {"token": "a", "logprob": -0.5, "bytes": [97]}
    assert logprobs_of({"logprobsResult": result}) == {"content": [{**found, "top_logprobs": [found]}], "refusal": None}
    assert logprobs_of({}) is None


def test_error_statuses() -> None:
    """Google's code is one."""
    assert (error_status({"code": 429}), error_status({"code": 7}), error_status("x")) == (429, 500, 500)
