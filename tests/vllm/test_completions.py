"""Text completions through the OpenAI SDK and the gateway, answered by a real model."""

from __future__ import annotations

from typing import Any

import pytest
from openai import OpenAI

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

ASKED: dict[str, Any] = {"model": "chat", "prompt": "1, 2, 3, 4,", "max_tokens": 6, "temperature": 0}


def streamed(client: OpenAI, **fields: Any) -> dict[int, str]:
    """The texts of a streamed completion by choice."""
    texts: dict[int, str] = {}
    with client.completions.create(**ASKED | fields, stream=True) as chunks:
        for chunk in chunks:
            for choice in chunk.choices:
                texts[choice.index] = texts.get(choice.index, "") + choice.text
    return texts


def test_a_completion(client: OpenAI) -> None:
    """The model counts on, in one answer as in a stream."""
    whole = client.completions.create(**ASKED)
    assert " 5" in whole.choices[0].text
    assert streamed(client) == {0: whole.choices[0].text}
    assert whole.usage
    assert whole.usage.completion_tokens == 6


def test_a_stream_shows_the_usage_that_was_asked_for(client: OpenAI) -> None:
    """One chunk, the last, without choices."""
    with client.completions.create(**ASKED, stream=True, stream_options={"include_usage": True}) as got:
        *chunks, last = list(got)
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert last.choices == []
    assert last.usage
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (11, 6)


def test_the_prompt_is_echoed(client: OpenAI) -> None:
    """Before the answer, in one piece and in a stream."""
    whole = client.completions.create(**ASKED, echo=True)
    assert whole.choices[0].text.startswith("1, 2, 3, 4, 5")
    assert streamed(client, echo=True) == {0: whole.choices[0].text}


def test_several_choices_for_several_prompts(client: OpenAI) -> None:
    """Two prompts with two choices each make four, in one answer and in a stream."""
    asked: dict[str, Any] = {"prompt": ["One two three", "Red green blue"], "n": 2, "temperature": 0.7, "seed": 11}
    whole = client.completions.create(**ASKED | asked)
    assert sorted(choice.index for choice in whole.choices) == [0, 1, 2, 3]
    assert set(streamed(client, **asked)) == {0, 1, 2, 3}


def test_a_prompt_of_token_ids(client: OpenAI) -> None:
    """Numbers go through as they are; three of them are three tokens."""
    answer = client.completions.create(**ASKED | {"prompt": [6403, 5005, 253]})
    assert answer.usage
    assert answer.usage.prompt_tokens == 3


def test_log_probabilities_of_prompt_and_answer(client: OpenAI) -> None:
    """With `echo`, each token has one but the first, which nothing precedes."""
    answer = client.completions.create(**ASKED, echo=True, logprobs=1)
    found = answer.choices[0].logprobs
    assert found
    assert found.tokens
    assert found.token_logprobs
    assert "".join(found.tokens) == answer.choices[0].text
    assert [value is None for value in found.token_logprobs] == [True] + [False] * 16
