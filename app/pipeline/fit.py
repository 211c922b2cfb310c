"""Stage 5: does the request fit the context window? What happens to one that does not is the model's `token_limit`.

A bound from bytes comes first: nearly every request fits by it, and costs a microsecond. Only one that might not fit
is counted exactly, off the event loop; and only one that certainly does not fit is refused: where no exact count can
be had, the upstream has the last word.
"""

from __future__ import annotations

from typing import Protocol

import orjson

from app.cells import Counter as Cell
from app.errors import CONTEXT_LENGTH_EXCEEDED, INVALID_REQUEST, GatewayError
from app.exchange import Call, Count, CountMethod, Event, Operation, made
from app.pipeline.counting import LARGE, body_bound, bound, media, most_bytes
from app.pipeline.outgoing import cap
from app.pipeline.plan import Plan
from app.pipeline.progress import FIT, Progress
from app.pipeline.shorten import Ask, Shortened, chunk, summarise, truncate
from app.table import Deployment, Model, Overflow
from app.telemetry import FITTED, Telemetry


class Counter(Protocol):
    """Counts prompts as exactly as it can."""

    async def body_bound(self, call: Call) -> int:
        """`counting.body_bound` of a call so large that working it out would hold the event loop."""

    async def count(self, call: Call, deployment: Deployment, known: Count) -> Count:
        """The best count that can be had; `known`, the bound, where there is none. Raises nothing."""


def at_once(call: Call, plan: Plan, progress: Progress) -> bool:
    """Whether the call fits every deployment of the plan by its bound from bytes; notes the bound.

    The answer has room in the window too: the caller's own cap, or the deployment's.
    """
    if call.size > LARGE and not call.plain:
        return False
    highest = 0
    asked = call.max_output_tokens
    body = body_bound(call)
    for _, deployment in plan.choices:
        size = most_bytes(call, deployment, body)
        if size is None:
            return False
        most = deployment.max_output_tokens
        if size + (most if asked is None or asked > most else asked) > deployment.context_window:
            return False
        highest = max(highest, size)
    progress.prompt = made(Count, (highest, highest, 0, CountMethod.BOUND))
    return True


def rewritten(before: Call, after: Call, prompt: Count | None) -> Count | None:
    """What is known of a prompt in which a guard has replaced something.

    Each byte of what it wrote may be a token, and what was taken out may have been few: nothing is taken off. A guard
    writes into the body that both calls share, and tells in the size of the second.
    """
    more = after.size - before.size
    if prompt is None or not more:
        return prompt
    return prompt._replace(tokens=prompt.tokens + more, longest=prompt.longest + more)


class Fitter:
    """Makes calls fit that do not fit at once."""

    def __init__(self, counter: Counter, telemetry: Telemetry) -> None:
        self._counter = counter
        self._telemetry = telemetry
        self._actions: dict[tuple[str, str], Cell] = {}

    async def fit(self, call: Call, plan: Plan, model: Model, progress: Progress, ask: Ask) -> tuple[Call, Plan]:
        """The call as the model's policy leaves it, and the deployments of the plan that it may fit.

        Raises `GatewayError` `context_length_exceeded` where it certainly fits none, and what calls on the way raise.
        """
        overflow, first = model.overflow, plan.choices[0][1]
        if overflow.policy == "clamp" and not call.soft_cap:
            call = call._replace(soft_cap=True)
        progress.mark(FIT)
        try:
            counts = await self._counts(call, plan)
            if overflow.policy in _SHORTENING and call.operation is Operation.CHAT and _is_long(call, first, counts[0]):
                try:
                    short = await self._shorten(call, first, overflow, ask)
                finally:
                    if ask.spent.calls:  # told also where it came to nothing
                        progress.fitted = f"{overflow.policy}; failed; {ask.spent.told}"
                if short is not None:
                    call = short.call
                    progress.fitted = short.told
                    self._tell(call, short.action)
                    counts = await self._counts(call, plan)
        finally:
            progress.resume()
        kept = [place for place, count in enumerate(counts) if _may_fit(call, plan.choices[place][1], count)]
        if not kept:
            self._tell(call, "reject")
            raise too_long(call, first, counts[0])
        progress.prompt = max((counts[place] for place in kept), key=lambda count: count.tokens)
        progress.call = call
        self._note_clamp(call, plan.choices[kept[0]][1], progress)
        return call, plan if len(kept) == len(counts) else Plan(
            tuple(plan.choices[place] for place in kept), shadow=plan.shadow
        )

    async def counted(self, call: Call, deployment: Deployment) -> Event:
        """The answer to a call that asks how many tokens a prompt has, where the deployment's provider cannot say.

        Never too low; `method` in it tells how exact. Raises `GatewayError` where nobody here can count it either.
        """
        if (messages := call.body.get("messages")) is not None:
            images, other = media(messages)
            asked = call._replace(operation=Operation.CHAT, images=images, media=other)
        else:
            asked = call._replace(operation=Operation.COMPLETION)
        count = await self._counter.count(asked, deployment, _UNKNOWN)
        if count.method is CountMethod.BOUND:
            raise GatewayError(
                INVALID_REQUEST,
                f"The model `{call.model}` cannot count tokens: its provider `{deployment.provider}` counts none, "
                "and the operator has named no `tokenizer`, or the prompt holds more than text.",
                param="model",
            )
        made = {"count": count.tokens, "max_model_len": deployment.context_window, "method": count.method}
        return Event(orjson.dumps(made), made)

    async def _shorten(self, call: Call, deployment: Deployment, overflow: Overflow, ask: Ask) -> Shortened | None:
        """The call, shortened as the policy says; None where that does not make it fit."""

        async def fits(short: Call, spare: int) -> bool:
            spare += _given_up(short, deployment)
            count = await self._count(short, deployment, await self._body_bound(short), spare)
            return _fits(short, deployment, count, spare)

        if overflow.policy == "summarise" and ask.allowed:
            return await summarise(call, fits, overflow, ask)
        if overflow.policy == "chunk" and ask.allowed:
            return await chunk(call, fits, overflow, ask) if _is_chunkable(call) else None
        return await truncate(call, fits)

    async def _counts(self, call: Call, plan: Plan) -> list[Count]:
        """The count for each deployment of the plan."""
        size = await self._body_bound(call)
        return [await self._count(call, deployment, size) for _, deployment in plan.choices]

    async def _body_bound(self, call: Call) -> int:
        slowly = call.size > LARGE and not call.plain
        return await self._counter.body_bound(call) if slowly else body_bound(call)

    async def _count(self, call: Call, deployment: Deployment, size: int, spare: int = 0) -> Count:
        """The bound where it settles the matter, else the best count that can be had."""
        count = bound(call, deployment, size)
        return count if _fits(call, deployment, count, spare) else await self._counter.count(call, deployment, count)

    def _note_clamp(self, call: Call, deployment: Deployment, progress: Progress) -> None:
        if call.max_output_tokens is None or progress.prompt is None:
            return
        lowered = cap(call, deployment, progress.prompt)
        if lowered < min(call.max_output_tokens, deployment.max_output_tokens):
            self._tell(call, "clamp")
            progress.fitted = f"clamp; max_tokens={lowered}"

    def _tell(self, call: Call, action: str) -> None:
        cell = self._actions.get((call.model, action))
        if cell is None:
            cell = self._actions[call.model, action] = self._telemetry.counter(FITTED, call.model, action)
        cell.inc()


def _wanted(call: Call, deployment: Deployment) -> int:
    """The room that the answer is to have."""
    asked, most = call.max_output_tokens, deployment.max_output_tokens
    return most if asked is None or asked > most else asked


def _fits(call: Call, deployment: Deployment, count: Count, spare: int = 0) -> bool:
    """Whether prompt and answer certainly fit, with so many tokens to spare."""
    return count.longest + _wanted(call, deployment) + spare <= deployment.context_window


def _given_up(call: Call, deployment: Deployment) -> int:
    """Tokens (below zero) of the room for an answer without a cap of the caller's that a long prompt may have.

    Half of the window is enough for such an answer: where `max_output_tokens` is near the window, nothing would fit.
    """
    if call.max_output_tokens is not None:
        return 0
    return min(deployment.context_window // 2 - deployment.max_output_tokens, 0)


def _is_long(call: Call, deployment: Deployment, count: Count) -> bool:
    """Whether a call has to be shortened, by a policy that does."""
    return not _fits(call, deployment, count, _given_up(call, deployment))


def _is_chunkable(call: Call) -> bool:
    """Whether a call is a task about a text: one answer, in words, all at once."""
    asks_more = call.stream or call.choices > 1 or call.images or call.media
    return not asks_more and not (call.body.get("tools") or call.body.get("functions"))


def _may_fit(call: Call, deployment: Deployment, count: Count) -> bool:
    """Whether they may: a cap that may be lowered needs room for one token."""
    needed = 1 if call.soft_cap else _wanted(call, deployment)
    return count.least + needed <= deployment.context_window


def too_long(call: Call, deployment: Deployment, count: Count) -> GatewayError:
    """The refusal of a call that certainly does not fit, with the numbers, in the words that OpenAI's clients know."""
    answer = 1 if call.soft_cap else _wanted(call, deployment)
    size = f"{count.least}" if count.least == count.longest else f"at least {count.least}"
    message = (
        f"This model's maximum context length is {deployment.context_window} tokens. However, you requested "
        f"{count.least + answer} tokens or more ({size} in the prompt, {answer} for the answer). Please shorten the "
        f"prompt or the answer."
    )
    return GatewayError(CONTEXT_LENGTH_EXCEEDED, message, param=_PARAMS.get(call.operation))


_UNKNOWN = Count(0, 0, 0, CountMethod.BOUND)
_SHORTENING = frozenset({"truncate", "summarise", "chunk"})
_PARAMS = {Operation.CHAT: "messages", Operation.COMPLETION: "prompt", Operation.EMBEDDINGS: "input"}
