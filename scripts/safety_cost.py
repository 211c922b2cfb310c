"""What `rules` and `pii` cost, in µs of CPU: a prompt, a plain answer, and each chunk of a stream.

    python -m scripts.safety_cost [--rounds 40]

The guard has 201 terms; the prompt has about 200 tokens, the answer 64. Of many rounds the median of the fastest
quarter counts: what else runs on the machine makes rounds slower, never faster.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median

from app.config import Guard
from app.exchange import Call, Event, JsonObject, Operation
from app.pipeline.report import Report
from app.safety.guards import Guards
from app.safety.policy import GuardPolicy

ENGLISH = (
    "Please read the following report about the new bridge across the river and tell me in your own words what "
    "the committee decided, who voted against it, and which of the three proposals was the cheapest in the end. "
)
ENGLISH_ANSWER = (
    "The committee voted for the second proposal because it was the cheapest of the three and could be built "
    "before the winter. Two members were against it; they would rather have waited for another report. "
)
JAPANESE = (
    "次の報告書を読んで、川に架かる新しい橋について委員会が何を決めたのか、"
    "誰が反対したのか、どの提案が最も安かったのかを説明してください。"
)
JAPANESE_ANSWER = (
    "委員会は三つの提案のうち最も安く、冬になる前に完成できる二番目の提案に賛成しました。二人の委員は反対しました。"
)
CHINESE = (
    "请阅读下面关于新河桥的报告\uff0c用你自己的话告诉我委员会决定了什么\uff0c"
    "谁投了反对票\uff0c三个方案中哪一个最终是最便宜的。"
)
CHINESE_ANSWER = "委员会投票赞成第二个方案\uff0c因为它是三个方案中最便宜的\uff0c而且可以在冬天之前建成。两名委员反对。"
TEXTS = {
    "English": (ENGLISH, ENGLISH_ANSWER),
    "Japanese": (JAPANESE, JAPANESE_ANSWER),
    "Chinese": (CHINESE, CHINESE_ANSWER),
}
CHARACTERS = {"English": (880, 280), "Japanese": (300, 96), "Chinese": (300, 96)}
"""Of 200 tokens and of 64."""
TURNS = 200


def guarded() -> GuardPolicy:
    """A guard as operators have it: many terms, personal data redacted."""
    terms = [f"project {name}{number}" for number in range(50) for name in ("aurora", "kestrel", "basalt", "quartz")]
    stage: JsonObject = {"detectors": ("rules", "pii"), "actions": {"pii": "redact"}}
    guard = Guard.model_validate(
        {"name": "g", "blocklist": ("internal codename", *terms), "prompt": stage, "completion": stage}
    )
    return Guards([guard]).of(guard, "team")


def of_length(text: str, size: int) -> str:
    """The text as often as it takes."""
    return (text * (size // len(text) + 1))[:size]


async def measured(work: Callable[[], Awaitable[None]], rounds: int) -> float:
    """µs of one."""
    times = []
    for _ in range(rounds):
        began = time.thread_time()
        for _ in range(TURNS):
            await work()
        times.append((time.thread_time() - began) / TURNS * 1e6)
    return median(sorted(times)[: max(1, rounds // 4)])


def asked(text: str, *, stream: bool) -> Call:
    """A request with a system prompt and a user's message."""
    messages = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": text}]
    return Call(Operation.CHAT, "m", stream, False, {"model": "m", "messages": messages}, len(text))  # noqa: FBT003 - named in the tuple


async def costs(guard: GuardPolicy, language: str, rounds: int) -> tuple[float, float, float]:
    """A prompt, a plain answer, a chunk."""
    prompt, answer = (of_length(text, size) for text, size in zip(TEXTS[language], CHARACTERS[language], strict=True))
    plain, streamed = asked(prompt, stream=False), asked(prompt, stream=True)

    async def look_at_prompt() -> None:
        await guard.prompt(plain, Report("g"))

    checked = await guard.prompt(plain, Report("g"))
    whole = Event(b"{}", answer_document({"role": "assistant", "content": answer}, "message", "stop"))

    async def look_at_answer() -> None:
        watch = guard.watch(checked, Report("g"))
        if watch is not None:
            watch.feed([whole], 0.0)
            watch.feed(None, 0.0)

    begun = await guard.prompt(streamed, Report("g"))
    size = max(1, len(answer) // 64)
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    first = Event(b"{}", answer_document({"role": "assistant", "content": ""}, "delta", None))
    chunks = [Event(b"{}", answer_document({"content": piece}, "delta", None)) for piece in pieces]

    async def look_at_stream() -> None:
        watch = guard.watch(begun, Report("g"))
        if watch is not None:
            watch.feed([Event(first.data, first.doc)], 0.0)
            for chunk in chunks:
                chunk.doc["choices"][0]["delta"]["content"] = pieces[0]
                watch.feed([chunk], 0.0)

    stream = await measured(look_at_stream, max(4, rounds // 4))
    return await measured(look_at_prompt, rounds), await measured(look_at_answer, rounds), stream / len(chunks)


def answer_document(said: JsonObject, place: str, finish: str | None) -> JsonObject:
    """An answer, or a piece of one."""
    choice = {"index": 0, place: said, "finish_reason": finish}
    return {"id": "c", "object": "o", "created": 1, "model": "m", "choices": [choice]}


async def run(rounds: int) -> None:
    """Print a row for each language."""
    guard = guarded()
    print(f"{'':10}{'prompt':>10}{'answer':>10}{'together':>10}{'chunk':>10}")
    for language in TEXTS:
        prompt, answer, chunk = await costs(guard, language, rounds)
        print(f"{language:10}{prompt:10.1f}{answer:10.1f}{prompt + answer:10.1f}{chunk:10.1f}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    asyncio.run(run(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
