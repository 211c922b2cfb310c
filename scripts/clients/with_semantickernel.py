"""Semantic Kernel through the gateway: chat with a function that it calls by itself; run by `__main__`."""

from __future__ import annotations

import asyncio

from openai import AsyncOpenAI
from semantic_kernel import Kernel  # type: ignore[import-not-found]  # in an environment of its own
from semantic_kernel.connectors.ai import FunctionChoiceBehavior  # type: ignore[import-not-found]  # as above
from semantic_kernel.connectors.ai.open_ai import (  # type: ignore[import-not-found]  # as above
    OpenAIChatCompletion,
    OpenAIChatPromptExecutionSettings,
)
from semantic_kernel.contents import ChatHistory, FunctionCallContent  # type: ignore[import-not-found]  # as above
from semantic_kernel.functions import kernel_function  # type: ignore[import-not-found]  # as above

from scripts.clients.setting import CALLS, KEY, MOST, PROVIDERS, REAL, URL, check, model

CALLED: list[str] = []


class Weather:
    """A plugin."""

    @kernel_function(name="get", description="Weather of a city")  # type: ignore[untyped-decorator]  # as above
    def get(self, city: str) -> str:
        """Tell it."""
        CALLED.append(city)
        return f"18 °C in {city}"


async def talk(provider: str) -> None:
    """A turn, a stream, and a call of the plugin whose result goes back."""
    client = AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
    settings = OpenAIChatPromptExecutionSettings(max_tokens=MOST, temperature=0)
    echo = OpenAIChatCompletion(ai_model_id=model(provider), async_client=client)
    history = ChatHistory(system_message="s")
    history.add_user_message("one two")
    check(str(await echo.get_chat_message_content(history, settings)), "one two")
    pieces = [str(piece) async for piece in echo.get_streaming_chat_message_content(history, settings)]
    check("".join(pieces), "one two")
    kernel = Kernel()
    kernel.add_plugin(Weather(), plugin_name="weather")
    caller = OpenAIChatCompletion(ai_model_id=model(provider, "tool-call-2"), async_client=client)
    behaviour = FunctionChoiceBehavior.Required(auto_invoke=False) if REAL else FunctionChoiceBehavior.Auto()
    settings = OpenAIChatPromptExecutionSettings(function_choice_behavior=behaviour, max_tokens=MOST, temperature=0)
    before = len(CALLED)
    answer = await caller.get_chat_message_content(history, settings, kernel=kernel)
    if REAL:  # it cannot ask for `strict`, without which vLLM does not hold a small model to the schema
        assert [one.name for one in answer.items if isinstance(one, FunctionCallContent)] == ["weather-get"] * CALLS
    else:
        assert str(answer)
        assert CALLED[before:] == ["Paris"] * CALLS
    await client.close()


for one in PROVIDERS:
    asyncio.run(talk(one))
called = "asked for" if REAL else "called by the kernel"
print(f"OpenAIChatCompletion over {', '.join(PROVIDERS)}: messages, streams, functions {called}")
