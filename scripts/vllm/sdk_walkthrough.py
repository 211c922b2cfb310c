"""The OpenAI SDK (sync, async, streams) through the gateway before a real vLLM, as a transcript.

    .venv/bin/python -m scripts.vllm.sdk_walkthrough [--url http://127.0.0.1:8080 --key KEY]

Without a URL it starts vLLM and the gateway itself, as the demo does, and stops them at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
from openai import APIStatusError, AsyncOpenAI, OpenAI

from scripts.vllm.demo import servers
from scripts.vllm.server import ServerError

PARIS: Any = [{"role": "user", "content": "What is the capital of France?"}]
RIVER: Any = [{"role": "user", "content": "Describe a river in one sentence."}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def show(title: str, act: Callable[[], object]) -> None:
    """Print a title, what the step returns, and how long it took."""
    began = time.monotonic()
    print(f"--- {title}")
    try:
        print(act())
    except APIStatusError as error:
        print(f"{type(error).__name__} {error.status_code}: {error.message}")
    print(f"    ({time.monotonic() - began:.2f} s)\n", flush=True)


def answer(client: OpenAI, **fields: Any) -> str:
    """A chat's text, tokens, and what the gateway's headers say."""
    asked = {"model": "chat", "messages": PARIS, "max_tokens": 40, "temperature": 0} | fields
    raw = client.chat.completions.with_raw_response.create(**asked)
    got = raw.parse()
    texts = [choice.message.content or str(choice.message.tool_calls) for choice in got.choices]
    where = {name: raw.headers[name] for name in ("x-request-id", "x-sluicegate-deployment", "server-timing")}
    return "\n".join(
        [*texts, f"{got.usage and got.usage.model_dump(exclude_none=True)} {got.system_fingerprint} {where}"]
    )


def stream(client: OpenAI, **fields: Any) -> str:
    """A streamed chat, its pieces parted by `|`, and its usage if it was asked for."""
    asked: Any = {"model": "chat", "messages": RIVER, "max_tokens": 30, "temperature": 0, "stream": True} | fields
    pieces, usage = [], None
    with client.chat.completions.create(**asked) as chunks:
        for chunk in chunks:
            usage = chunk.usage or usage
            pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
    return "|".join(pieces) + f"\nusage: {usage and usage.model_dump(exclude_none=True)}"


def completion(client: OpenAI) -> str:
    """Two streamed choices of a text completion."""
    texts = {0: "", 1: ""}
    with client.completions.create(
        model="chat", prompt="1, 2, 3,", max_tokens=8, n=2, temperature=0.5, seed=1, stream=True
    ) as chunks:
        for chunk in chunks:
            for choice in chunk.choices:
                texts[choice.index] += choice.text
    return str(texts)


def logprobs(client: OpenAI) -> str:
    """The probabilities of the first tokens."""
    got = client.chat.completions.create(
        model="chat", messages=PARIS, max_tokens=3, temperature=0, logprobs=True, top_logprobs=2
    )
    found = got.choices[0].logprobs
    return str([(token.token, round(token.logprob, 2)) for token in (found and found.content) or []])


async def together(url: str, key: str) -> str:
    """Four asynchronous callers at once, two of them streaming."""
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key=key) as client:

        async def one(number: int) -> str:
            asked: Any = {
                "model": "chat",
                "messages": RIVER,
                "max_tokens": 16,
                "seed": number,
                "stream": number % 2 == 0,
            }
            got: Any = await client.chat.completions.create(**asked)
            if not asked["stream"]:
                return str(got.choices[0].message.content)
            async with got:
                return "|".join([chunk.choices[0].delta.content or "" async for chunk in got])

        return "\n".join(await asyncio.gather(*(one(number) for number in range(4))))


def walk(url: str, key: str) -> None:
    """Every step, in order."""
    print(f"openai {openai.__version__}, gateway at {url}\n")
    tool = {"type": "function", "function": {"name": "get_weather"}}
    with OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        show("models", lambda: [model.id for model in client.models.list()])
        show("chat", lambda: answer(client))
        show("chat, streamed", lambda: stream(client))
        show("chat, streamed, usage asked for", lambda: stream(client, stream_options={"include_usage": True}))
        show("two choices", lambda: answer(client, n=2, temperature=0.8, seed=3))
        show("a tool", lambda: answer(client, tools=[WEATHER], tool_choice=tool, max_tokens=80))
        show("log probabilities", lambda: logprobs(client))
        show("completion, two choices, streamed", lambda: completion(client))
        show("four asynchronous callers at once", lambda: asyncio.run(together(url, key)))
        show("no such model", lambda: answer(client, model="nobody"))
        show("more tokens than fit (vLLM's words)", lambda: answer(client, max_tokens=5000))
        show("a temperature that is no number (vLLM's words)", lambda: answer(client, temperature="hot"))


def main() -> int:
    """The command; 0 unless a server did not start."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--url", help="a running gateway with a model `chat`")
    parser.add_argument("--key", default="", help="its key")
    options = parser.parse_args()
    try:
        with ExitStack() as stack:
            if options.url:
                walk(options.url, options.key)
            else:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluicegate-vllm-")))
                started = servers(stack, folder)
                walk(started.gateway.base, started.key)
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
