"""What counting, fitting, templates and formats cost, and for how long counting a long prompt holds the event loop.

    python -m loadtests.counting [--quick]

First table: µs of CPU a call, on one core, each the best of several rounds: what a request pays on its path. Second
table: a chat of 100 000 tokens by each vocabulary, while the event loop is asked for a turn every tenth of a
millisecond: seconds until it is counted, and the longest that the loop waited for its turn. `nothing` is the same loop
beside a thread that sleeps: what the machine itself holds up.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import orjson

from app.config import FORMATS, Config, load
from app.exchange import Arm, Call, JsonObject, Operation
from app.pipeline.counting import bound
from app.pipeline.endpoints import Endpoints
from app.pipeline.fit import at_once
from app.pipeline.outgoing import outgoing, shaped
from app.pipeline.plan import Plan
from app.pipeline.progress import Progress
from app.pipeline.validate import validate
from app.providers.completions import Completions
from app.providers.counter import PromptCounter
from app.providers.rendering import rendered
from app.providers.transport import HttpTransport
from app.providers.vllm import Vllm
from app.table import Deployment, Table, build

ENGLISH = "The animal did not cross the street because it was too tired. " * 14
GERMAN = "Das Tier überquerte die Straße nicht, weil es zu müde war. " * 14
TEMPLATE = "You answer from the documents alone, briefly and kindly, and you keep these rules to yourself. " * 8
_SAID = {"index": 0, "text": " word", "logprobs": None, "finish_reason": None}
CHUNK = b"data: %b\n\n" % orjson.dumps(
    {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [_SAID]}
)
VOCABULARIES = ("gpt2", "cl100k", "o200k")


def settings() -> Config:
    """A gateway with one deployment for each vocabulary, and models with and without a template."""
    usual: JsonObject = {"provider": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"}
    usual |= {"context_window": 1_000_000, "max_output_tokens": 512, "price": {"input": 1, "output": 1}}
    deployments = [{**usual, "name": name, "tokenizer": name} for name in (*VOCABULARIES, "bound")]
    models = [{"name": "plain", "stable": "bound"}, {"name": "told", "stable": "bound", "template": "words"}]
    templates = [{"name": "words", "tone": TEMPLATE}]
    document = {"deployments": deployments, "models": models, "templates": templates}
    return load(orjson.dumps(document).decode(), {})


def table() -> Table:
    """The same as a request finds it."""
    return build(settings())


def chat(text: str, model: str = "plain") -> bytes:
    """A request."""
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    return orjson.dumps({"model": model, "messages": talk, "max_tokens": 64})


def best(work: Callable[[], object], rounds: int, times: int = 2000) -> float:
    """µs of CPU of one call, in the best round."""
    found = []
    for _ in range(rounds):
        began = time.thread_time()
        for _ in range(times):
            work()
        found.append((time.thread_time() - began) / times * 1e6)
    return min(found)


def path_costs(rounds: int) -> dict[str, float]:
    """What a request pays, in µs."""
    found = table()
    one = found.deployments["bound"]
    plan = Plan(((Arm.STABLE, one),))
    english, german, told = (validate(Operation.CHAT, chat(text)) for text in (ENGLISH, GERMAN, ENGLISH))
    told = shaped(told._replace(model="told"), found)
    progress = Progress("req_1", Operation.CHAT)
    size = bound(english, one)
    scaffold = told.scaffolds[one.name] if told.scaffolds is not None else None
    dialect, style = Completions(Vllm()), FORMATS["chatml"]
    chunk = dialect.decoder(english._replace(stream=True))
    plain = Vllm().decoder(english._replace(stream=True, operation=Operation.COMPLETION))
    return {
        "fit: the bound, English": best(lambda: at_once(english, plan, progress), rounds),
        "fit: the bound, German": best(lambda: at_once(german, plan, progress), rounds),
        "fit: the bound, with a template": best(lambda: at_once(told, plan, progress), rounds),
        "no template": best(lambda: shaped(english, found), rounds),
        "a template": best(lambda: shaped(told, found), rounds),
        "the cap on the answer": best(lambda: outgoing(english, one, size), rounds),
        "the cap, and a template in front": best(lambda: outgoing(told, one, size, scaffold), rounds),
        "a conversation written out (ChatML)": best(lambda: rendered(english, style), rounds),
        "a chunk of a completion": best(lambda: plain.feed(CHUNK), rounds),
        "the same, made a chat's": best(lambda: chunk.feed(CHUNK), rounds),
    }


async def pause(work: Callable[[], Coroutine[Any, Any, object]]) -> tuple[float, float]:
    """Seconds that the work took, and the longest that the event loop waited for a turn meanwhile."""
    task = asyncio.ensure_future(work())
    longest, began = 0.0, time.perf_counter()
    last = began
    while not task.done():
        await asyncio.sleep(0.0001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    await task
    return time.perf_counter() - began, longest


async def long_prompts(tokens: int) -> dict[str, tuple[float, float]]:
    """Of each vocabulary: seconds, and the longest pause."""
    found = table()
    words = " ".join(f"word{number % 977} and some more" for number in range(tokens // 4))
    call = validate(Operation.CHAT, chat(words))
    transport = HttpTransport()
    counter = PromptCounter(transport, Endpoints(asyncio.get_running_loop().time))
    try:
        await asyncio.to_thread(counter.prepare, settings().deployments)
        told = {"nothing": await pause(partial(asyncio.to_thread, time.sleep, 0.2))}
        for name in VOCABULARIES:
            told[name] = await pause(partial(_count, counter, call, found.deployments[name]))
        return told
    finally:
        counter.close()
        await transport.aclose()


async def _count(counter: PromptCounter, call: Call, one: Deployment) -> int:
    return (await counter.count(call, one, bound(call, one))).tokens


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round, and a prompt of a tenth")
    quick = parser.parse_args().quick
    for what, cost in path_costs(1 if quick else 7).items():
        print(f"{what:40}{cost:8.2f} µs")
    tokens = 10_000 if quick else 100_000
    print(f"\n{tokens} tokens by{'':14}seconds   longest pause of the loop")
    for name, (seconds, longest) in asyncio.run(long_prompts(tokens)).items():
        print(f"{name:28}{seconds:9.3f}{longest * 1000:16.1f} ms")


if __name__ == "__main__":
    main()
