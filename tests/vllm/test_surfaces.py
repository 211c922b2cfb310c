"""Other clients than OpenAI's chat before a real model: Anthropic's SDK, responses, counting; in their own shapes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, BadRequestError, NotFoundError
from openai import OpenAI
from pydantic import BaseModel

from tests.providers.dialogues import PNG
from tests.support.vllm import KEY, Front
from tests.vllm.test_chat import WEATHER

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

COLD: Any = {"extra_body": {"temperature": 0}}
"""Anthropic's SDK has no name for it any more: its newest models refuse it."""
PARIS: Any = [{"role": "user", "content": "What is the capital of France?"}]
FUNCTION: Any = WEATHER["function"]
TOOL: Any = {"name": "get_weather", "description": FUNCTION["description"], "input_schema": FUNCTION["parameters"]}


class Person(BaseModel):
    """A form for an answer."""

    name: str
    age: int


@pytest.fixture
def claude(front: Front) -> Iterator[Anthropic]:
    """Anthropic's SDK at the gateway."""
    with Anthropic(base_url=front.url, api_key=KEY, max_retries=0, timeout=120) as sdk:
        yield sdk


# --- Anthropic's SDK on /v1/messages


def test_counting_is_vllms_own(claude: Anthropic, front: Front) -> None:
    """Exactly what the prompt takes, tools and system included; it costs nothing."""
    counted = claude.messages.count_tokens(model="chat", messages=PARIS, system="Be brief.")
    made = claude.messages.create(model="chat", max_tokens=1, messages=PARIS, system="Be brief.")
    assert counted.input_tokens == made.usage.input_tokens
    assert claude.messages.count_tokens(model="chat", messages=PARIS, tools=[TOOL]).input_tokens > counted.input_tokens


def test_mistakes_are_anthropics(claude: Anthropic) -> None:
    """Their classes; vLLM's words where it is vLLM that refuses."""
    with pytest.raises(NotFoundError):
        claude.messages.create(model="nobody", max_tokens=9, messages=PARIS)
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    with pytest.raises(BadRequestError, match="multimodal"):
        claude.messages.create(model="chat", max_tokens=9, messages=[{"role": "user", "content": [image]}])


# --- OpenAI's SDK on /v1/responses


def test_a_response(client: OpenAI) -> None:
    """Whole, with usage; nothing is stored."""
    made = client.responses.create(model="chat", input="What is the capital of France?", store=False, temperature=0)
    assert "Paris" in made.output_text
    assert (made.status, made.to_dict()["store"]) == ("completed", False)
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens


def test_a_streamed_response(client: OpenAI) -> None:
    """Its pieces are the whole, numbered without a gap; a cap makes it incomplete."""
    asked: Any = {"model": "chat", "input": "Describe a river.", "store": False, "temperature": 0}
    events = list(client.responses.create(**asked, max_output_tokens=16, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.output_text == text
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "max_output_tokens"


def test_a_response_by_a_schema(client: OpenAI) -> None:
    """Parsed by the SDK."""
    made = client.responses.parse(
        model="chat", input="Invent a person with a short name.", text_format=Person, store=False, temperature=0,
        max_output_tokens=80,
    )  # fmt: skip
    assert isinstance(made.output_parsed, Person)


# --- counting


def test_tokenize(front: Front, claude: Anthropic) -> None:
    """A text, with the tokens themselves, and a conversation, as vLLM's template writes it."""
    ask = partial(httpx2.post, f"{front.url}/tokenize", headers={"authorization": f"Bearer {KEY}"}, timeout=60)
    text = ask(json={"model": "chat", "prompt": "The gate opens."}).json()
    assert text["count"] == len(text["tokens"]) > 3
    chat = ask(json={"model": "chat", "messages": PARIS}).json()
    assert chat["count"] == claude.messages.count_tokens(model="chat", messages=PARIS).input_tokens == 37
