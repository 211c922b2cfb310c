"""LangChain through the gateway: OpenAI's integration over three providers, Anthropic's over two; run by `__main__`."""

from __future__ import annotations

import asyncio
import os

from langchain_anthropic import ChatAnthropic  # type: ignore[import-not-found]  # in an environment of its own
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage  # type: ignore[import-not-found]  # as above
from langchain_core.tools import tool  # type: ignore[import-not-found]  # as above
from langchain_openai import ChatOpenAI, OpenAIEmbeddings  # type: ignore[import-not-found]  # as above
from pydantic import BaseModel

URL, KEY = os.environ["GATEWAY_URL"], os.environ["GATEWAY_KEY"]


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
    models = [ChatOpenAI(model=f"{one}-echo", base_url=f"{URL}/v1", api_key=KEY, max_retries=0) for one in providers]
    return ["".join([str(piece.content) async for piece in model.astream("one two three")]) for model in models]


def openai(provider: str) -> None:
    """Messages, tools and their results, a form, over this provider."""
    echo = ChatOpenAI(model=f"{provider}-echo", base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
    assert echo.invoke([SystemMessage("s"), HumanMessage("one two")]).content == "one two"
    assert echo.with_structured_output(Trip, method="json_schema").invoke("trip") == Trip(city="Paris", days=1)
    caller = ChatOpenAI(model=f"{provider}-tool-call-2", base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
    first = caller.bind_tools([get_weather]).invoke("weather?")
    assert [call["args"] for call in first.tool_calls] == [{"city": "Paris"}] * 2
    results = [ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in first.tool_calls]
    assert caller.bind_tools([get_weather]).invoke([HumanMessage("weather?"), first, *results]).content
    responses = ChatOpenAI(
        model=f"{provider}-echo", base_url=f"{URL}/v1", api_key=KEY, max_retries=0, use_responses_api=True, store=False
    )
    assert responses.invoke("one two").text == "one two"


def anthropic(provider: str) -> None:
    """Anthropic's own client over this provider."""
    echo = ChatAnthropic(model=f"{provider}-echo", base_url=URL, api_key=KEY, max_retries=0)
    assert echo.invoke([SystemMessage("s"), HumanMessage("one two")]).content == "one two"
    assert "".join(str(piece.text) for piece in echo.stream("one two")) == "one two"
    caller = ChatAnthropic(model=f"{provider}-tool-call-2", base_url=URL, api_key=KEY, max_retries=0)
    first = caller.bind_tools([get_weather]).invoke("weather?")
    results = [ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in first.tool_calls]
    assert len(results) == 2
    assert caller.bind_tools([get_weather]).invoke([HumanMessage("weather?"), first, *results]).content


for one in ("vllm", "anthropic", "gemini"):
    openai(one)
for one in ("vllm", "anthropic"):
    anthropic(one)
assert asyncio.run(streamed(("vllm", "anthropic", "gemini"))) == ["one two three"] * 3
vectors = OpenAIEmbeddings(model="vllm-echo", base_url=f"{URL}/v1", api_key=KEY, check_embedding_ctx_length=False)
assert len(vectors.embed_documents(["a", "b"])) == 2
print("ChatOpenAI over vllm, anthropic, gemini: messages, async streams, parallel tools, JSON schema, responses;")
print("ChatAnthropic over vllm, anthropic: messages, streams, parallel tools and results; OpenAIEmbeddings")
