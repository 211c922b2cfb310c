"""LangChain through the gateway: OpenAI's integration over three providers, Anthropic's over two; run by `__main__`."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_anthropic import ChatAnthropic  # type: ignore[import-not-found]  # in an environment of its own
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage  # type: ignore[import-not-found]  # as above
from langchain_core.tools import tool  # type: ignore[import-not-found]  # as above
from langchain_openai import ChatOpenAI, OpenAIEmbeddings  # type: ignore[import-not-found]  # as above
from pydantic import BaseModel

from scripts.clients.setting import CALLS, KEY, MOST, PROVIDERS, REAL, URL, check, embedder, model


class Trip(BaseModel):
    """A form for an answer."""

    city: str
    days: int


@tool  # type: ignore[untyped-decorator]  # as above
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"18 °C in {city}"


async def streamed(providers: tuple[str, ...]) -> list[str]:
    """What comes piece by piece, from each."""
    chats = [chat(model(one)) for one in providers]
    return ["".join([str(piece.content) async for piece in one.astream("one two three")]) for one in chats]


def chat(name: str, **settings: Any) -> Any:
    """OpenAI's integration."""
    where: Any = {"base_url": f"{URL}/v1", "api_key": KEY, "max_retries": 0, "max_tokens": MOST, "temperature": 0}
    return ChatOpenAI(model=name, **where, **settings)


def called(client: Any) -> None:
    """Tools in parallel, and what follows their results. A small model is told to call one, and held to its schema."""
    offered = client.bind_tools([get_weather], **({"tool_choice": "get_weather", "strict": True} if REAL else {}))
    first = offered.invoke("weather in Paris?")
    assert len(first.tool_calls) == CALLS
    assert REAL or [call["args"] for call in first.tool_calls] == [{"city": "Paris"}] * CALLS
    results = [ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in first.tool_calls]
    after = client.bind_tools([get_weather]).invoke([HumanMessage("weather in Paris?"), first, *results])
    assert after.content or after.tool_calls


def openai(provider: str) -> None:
    """Messages, tools and their results, a form, over this provider."""
    echo = chat(model(provider))
    check(echo.invoke([SystemMessage("s"), HumanMessage("one two")]).content, "one two")
    trip = echo.with_structured_output(Trip, method="json_schema").invoke("A trip of one day to Paris, as JSON.")
    assert isinstance(trip, Trip)
    assert REAL or trip == Trip(city="Paris", days=1)
    called(chat(model(provider, "tool-call-2")))
    responses = chat(model(provider), use_responses_api=True, store=False)
    check(responses.invoke("one two").text, "one two")


def anthropic(provider: str) -> None:
    """Anthropic's own client over this provider."""
    where: Any = {"base_url": URL, "api_key": KEY, "max_retries": 0, "max_tokens": MOST, "temperature": 0}
    echo = ChatAnthropic(model=model(provider), **where)
    check(echo.invoke([SystemMessage("s"), HumanMessage("one two")]).content, "one two")
    check("".join(str(piece.text) for piece in echo.stream("one two")), "one two")
    called(ChatAnthropic(model=model(provider, "tool-call-2"), **where))


for one in PROVIDERS:
    openai(one)
for one in PROVIDERS[:2]:
    anthropic(one)
for text in asyncio.run(streamed(PROVIDERS)):
    check(text, "one two three")
vectors = OpenAIEmbeddings(model=embedder("vllm"), base_url=f"{URL}/v1", api_key=KEY, check_embedding_ctx_length=False)
assert len(vectors.embed_documents(["a", "b"])) == 2
print(f"ChatOpenAI over {', '.join(PROVIDERS)}: messages, async streams, tools and results, JSON schema, responses;")
print(f"ChatAnthropic over {', '.join(PROVIDERS[:2])}: messages, streams, tools and results; OpenAIEmbeddings")
