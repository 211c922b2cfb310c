"""Counts prompts as exactly as it can be had: by a vocabulary, in a thread, or by asking the upstream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

import orjson

from app import config
from app.errors import GatewayError, UpstreamFailure
from app.exchange import (
    Call,
    Count,
    CountMethod,
    Endpoint,
    JsonObject,
    Operation,
    Outbound,
    PromptFormat,
    Provider,
    Timeouts,
)
from app.pipeline.call import Transport
from app.pipeline.counting import IMAGES, MESSAGE_TOKENS, TOOLS_TOKENS, body_bound, scaffold_of, texts
from app.pipeline.endpoints import Endpoints
from app.pipeline.outgoing import told_first
from app.providers.openai import OpenAI
from app.providers.rendering import rendered
from app.providers.vocabulary import CountText, Tokens, Vocabularies
from app.table import Deployment

TIMEOUTS: Final = Timeouts(connect=1.0, first_token=3.0, between_tokens=3.0, total=3.0)
"""Seconds that an upstream has for counting; after them the bound stands."""
SILENT: Final = 60.0
"""Seconds for which an endpoint that cannot count is not asked again."""
TOKENIZE: Final = "/tokenize"
_MOST: Final = 64 * 1024 * 1024
_MOST_PROMPTS: Final = 8
"""Prompts of one call that an upstream is asked about."""
_OPENAI_MESSAGE: Final = 4
"""Tokens that OpenAI's models put around a message, its name included (OpenAI's cookbook: 3, and 1 for a name)."""
_SLICE: Final = 16_384
_PASSED = ("tools", "chat_template", "chat_template_kwargs", "add_generation_prompt", "continue_final_message")
_COUNTED = frozenset({Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDINGS})
_KNOWN = frozenset({"role", "content"})
_SILENT_IN_PARTS = frozenset({"type", "cache_control"})
_BEGINNING = 1
"""The token that begins a text, which an upstream adds to completions."""
_T = TypeVar("_T")


class PromptCounter:
    """Counts prompts for the stage `fit`. Make it inside the event loop that it serves."""

    def __init__(self, transport: Transport, endpoints: Endpoints) -> None:
        self._transport = transport
        self._endpoints = endpoints
        self._vocabularies = Vocabularies()
        self._threads = ThreadPoolExecutor(2, "tokens")
        self._loop = asyncio.get_running_loop()
        self._silent: dict[Endpoint, float] = {}
        self._dialect = OpenAI()

    def prepare(self, deployments: Sequence[config.Deployment]) -> None:
        """Load, off the event loop, the vocabularies that these name. Raises `ConfigError` where a file is none."""
        problems = []
        for place, one in enumerate(deployments):
            if one.tokenizer not in ("upstream", "bound"):
                try:
                    self._vocabularies.get(one.tokenizer)
                except (OSError, ValueError) as error:
                    hint = "Name a `tokenizer.json` as Hugging Face's `tokenizers` writes it."
                    problems.append(config.Problem(f"deployments[{place}].tokenizer", None, str(error), hint))
        if problems:
            raise config.ConfigError(problems)

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def body_bound(self, call: Call) -> int:
        """`counting.body_bound` of a large call, worked out in a thread that lets the event loop have its turns."""
        return await self._off_loop(partial(body_bound, call))

    async def count(self, call: Call, deployment: Deployment, known: Count) -> Count:
        """The best count that can be had; `known` where there is none. Raises nothing."""
        unknown = call.media or (call.images and deployment.image_tokens is None) or call.operation not in _COUNTED
        if unknown or deployment.tokenizer == "bound" or _is_changed(call, deployment):
            return known
        try:
            if deployment.tokenizer == "upstream":
                return known if call.images else await self._ask(call, deployment, known)
            return await self._off_loop(partial(self._by_vocabulary, call, deployment))
        except (GatewayError, OSError, ValueError):
            return known  # it cannot be written for this upstream, or is no prompt at all, or its vocabulary is gone

    async def _off_loop(self, work: Callable[[], _T]) -> _T:
        return await self._loop.run_in_executor(self._threads, work)

    def _by_vocabulary(self, call: Call, deployment: Deployment) -> Count:
        counts = self._vocabularies.get(deployment.tokenizer)
        if call.operation is Operation.CHAT:
            return conversation(call, deployment, counts)
        sizes = [_size(prompt, counts) for prompt in prompts(call)]
        most = [size.most for size in sizes]
        least = max(size.least for size in sizes)
        method = CountMethod.EXACT if least == max(most) else CountMethod.TOKENIZER
        return Count(sum(most), max(most), least, method)

    # --- the upstream's own count -------------------------------------------------------------------------

    async def _ask(self, call: Call, deployment: Deployment, known: Count) -> Count:
        state = self._endpoints.choose(deployment, set(), last_resort=False)
        if state is None or self._silent.get(state.endpoint, 0.0) > self._loop.time():
            return known
        asked = questions(call, deployment)
        if len(asked) > _MOST_PROMPTS:
            return known
        try:
            sizes = [await self._size(question, state.endpoint, deployment) for question in asked]
        except (UpstreamFailure, GatewayError, ValueError):
            self._silent[state.endpoint] = self._loop.time() + SILENT
            return known
        return Count(sum(sizes), max(sizes), max(sizes), CountMethod.EXACT)

    async def _size(self, question: JsonObject | int, endpoint: Endpoint, deployment: Deployment) -> int:
        """What vLLM's `/tokenize` counts. Raises `UpstreamFailure` and `ValueError`."""
        if isinstance(question, int):
            return question
        headers = self._dialect.headers(deployment, "count")
        data = orjson.dumps({**question, "model": deployment.model})
        request = Outbound("POST", TOKENIZE, headers, data, stream=False, from_root=True)
        deadline = self._loop.time() + TIMEOUTS.total
        reply = await self._transport.send(endpoint, request, TIMEOUTS, deadline)
        try:
            answer = await reply.read_all(_MOST)
        finally:
            reply.close()
        doc = orjson.loads(answer) if reply.status == 200 else None
        count = doc.get("count") if type(doc) is dict else None
        if type(count) is not int or count < 0:
            raise ValueError("no count")
        return count


def prompts(call: Call) -> list[Any]:
    """The prompts of a completion, or the inputs of embeddings: texts, or lists of token numbers."""
    value = call.body["prompt" if call.operation is Operation.COMPLETION else "input"]
    return value if type(value) is list and type(value[0]) is not int else [value]


def _size(prompt: Any, counts: CountText) -> Tokens:
    if type(prompt) is str:
        return counts(prompt)
    count = _numbers(prompt)
    return Tokens(count, count)


def _numbers(prompt: Any) -> int:
    """How many token numbers a prompt is. Raises `ValueError` where it is none."""
    if type(prompt) is not list:
        raise ValueError("a prompt is a text or a list of token numbers")
    return len(prompt)


def _is_changed(call: Call, deployment: Deployment) -> bool:
    """Whether the upstream makes another prompt of what would be counted, longer or shorter."""
    body = call.body
    if body.get("suffix") is not None or body.get("truncate_prompt_tokens") is not None:
        return True
    bounded = call.operation is Operation.CHAT and deployment.tokenizer != "upstream"  # among the extras
    return bool(body.get("documents")) and not bounded


def questions(call: Call, deployment: Deployment) -> list[JsonObject | int]:
    """What vLLM's `/tokenize` is asked, without the model's name, for each prompt; for token numbers, how many.

    Raises `GatewayError` where the conversation cannot be written in the deployment's `prompt_format`, `ValueError` for
    what is no prompt.
    """
    if call.operation is not Operation.CHAT:
        return [{"prompt": prompt} if type(prompt) is str else _numbers(prompt) for prompt in prompts(call)]
    if deployment.prompt_format is not None:
        return [{"prompt": rendered(_as_sent(call, deployment), deployment.prompt_format)}]
    body = _as_sent(call, deployment).body
    return [{"messages": body["messages"], **{name: body[name] for name in _PASSED if body.get(name) is not None}}]


def _as_sent(call: Call, deployment: Deployment) -> Call:
    """The call behind its scaffold."""
    scaffold = scaffold_of(call, deployment)
    if scaffold is None:
        return call
    return call._replace(body={**call.body, "messages": told_first(call.body["messages"], scaffold)})


def conversation(call: Call, deployment: Deployment, counts: CountText) -> Count:
    """A chat: every text by the vocabulary; markers, tools and images by their bounds.

    Where the gateway writes the conversation out, what it writes. Raises `GatewayError` where it cannot.
    """
    if deployment.prompt_format is not None:
        return _written_out(_as_sent(call, deployment), deployment, deployment.prompt_format, counts)
    openai = deployment.provider in (Provider.OPENAI, Provider.AZURE_OPENAI)
    per_message = _OPENAI_MESSAGE if openai else MESSAGE_TOKENS
    total = deployment.template_tokens + call.images * (deployment.image_tokens or 0)
    least = 0
    for message in _as_sent(call, deployment).body["messages"]:
        total += per_message
        for text, said in contents(message.get("content")):
            size = counts(text)
            total += size.most
            least += max(size.least - (len(text) - len(text.strip())) - 1, 0) if said else 0
        total += sum(counts(_written(value)).most for name, value in message.items() if value and name not in _KNOWN)
    total += _extras(call.body, counts)
    return Count(total, total, least, CountMethod.TOKENIZER)


def _written_out(call: Call, deployment: Deployment, style: PromptFormat, counts: CountText) -> Count:
    """A chat as the text that is sent. Its marks are a token each in the upstream's own file, else maybe letters."""
    size = counts(rendered(call, style))
    own = deployment.tokenizer.endswith(".json")
    marks = 0 if own else style.most_bytes * (len(call.body["messages"]) + 1)
    most = size.most + _BEGINNING
    return Count(most, most, max(size.least - marks, 0), CountMethod.TOKENIZER)


def _extras(body: JsonObject, counts: CountText) -> int:
    """Tools, written as templates may write them, with their instructions; and what else becomes a part of a prompt."""
    tools = body.get("tools") or body.get("functions")
    total = TOOLS_TOKENS + counts(_written(tools)).most if tools else 0
    return total + sum(counts(_written(body[name])).most for name in ("response_format", "documents") if body.get(name))


def _written(value: Any) -> str:
    return value if type(value) is str else json.dumps(value, ensure_ascii=False, indent=4)


def contents(value: Any) -> Iterator[tuple[str, bool]]:
    """The texts of a message's content, each with whether it certainly is in the prompt.

    Refusals and thoughts may be: some templates leave them out.
    """
    if type(value) is str:
        yield value, True
    for part in value if type(value) is list else ():
        if type(part) is str:
            yield part, True
        elif type(part) is dict and not _is_image(part):
            for name, inner in part.items():
                if name == "text" and type(inner) is str:
                    yield inner, True
                elif name not in _SILENT_IN_PARTS:
                    yield from ((text, False) for text in texts(inner))


def _is_image(part: JsonObject) -> bool:
    kind = part.get("type")
    return type(kind) is str and kind in IMAGES
