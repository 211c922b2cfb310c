"""Stage 5: does the request fit the context window? What happens to one that does not is the model's `token_limit`.

A bound from bytes comes first: nearly every request fits by it, and costs a microsecond. Only one that might not fit
is counted exactly, off the event loop; and only one that certainly does not fit is refused: where no exact count can
be had, the upstream has the last word.
"""

from __future__ import annotations

from typing import Protocol

from app.cells import Counter as Cell
from app.errors import CONTEXT_LENGTH_EXCEEDED, GatewayError
from app.exchange import Call, Count, CountMethod, Operation
from app.pipeline.counting import LARGE, bound, most_bytes
from app.pipeline.outgoing import cap
from app.pipeline.plan import Plan
from app.pipeline.progress import FIT, Progress
from app.table import Deployment, Model
from app.telemetry import FITTED, Telemetry


class Counter(Protocol):
    """Counts prompts as exactly as it can."""

    async def bound(self, call: Call, deployment: Deployment) -> Count:
        """The bound from bytes of a call so large that working it out would hold the event loop."""

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
    for _, deployment in plan.choices:
        size = most_bytes(call, deployment)
        if size is None:
            return False
        most = deployment.max_output_tokens
        if size + (most if asked is None or asked > most else asked) > deployment.context_window:
            return False
        highest = max(highest, size)
    progress.prompt = Count(highest, highest, 0, CountMethod.BOUND)
    return True


class Fitter:
    """Makes calls fit that do not fit at once."""

    def __init__(self, counter: Counter, telemetry: Telemetry) -> None:
        self._counter = counter
        self._telemetry = telemetry
        self._actions: dict[tuple[str, str], Cell] = {}

    async def fit(self, call: Call, plan: Plan, model: Model, progress: Progress) -> tuple[Call, Plan]:
        """The call as the model's policy leaves it, and the deployments of the plan that it may fit.

        Raises `GatewayError` `context_length_exceeded` where it certainly fits none.
        """
        if model.overflow == "clamp" and not call.soft_cap:
            call = call._replace(soft_cap=True)
        progress.mark(FIT)
        counts = [await self._count(call, deployment) for _, deployment in plan.choices]
        progress.resume()
        kept = [place for place, count in enumerate(counts) if _may_fit(call, plan.choices[place][1], count)]
        if not kept:
            self._tell(call, "reject")
            raise too_long(call, plan.choices[0][1], counts[0])
        progress.prompt = max((counts[place] for place in kept), key=lambda count: count.tokens)
        self._note_clamp(call, plan.choices[kept[0]][1], progress)
        return call, plan if len(kept) == len(counts) else Plan(tuple(plan.choices[place] for place in kept))

    async def _count(self, call: Call, deployment: Deployment) -> Count:
        """The bound where it settles the matter, else the best count that can be had."""
        slowly = call.size > LARGE and not call.plain
        count = await self._counter.bound(call, deployment) if slowly else bound(call, deployment)
        return count if _fits(call, deployment, count) else await self._counter.count(call, deployment, count)

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


def _fits(call: Call, deployment: Deployment, count: Count) -> bool:
    """Whether prompt and answer certainly fit."""
    return count.longest + _wanted(call, deployment) <= deployment.context_window


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
    return GatewayError(CONTEXT_LENGTH_EXCEEDED, message, param=_PARAMS[call.operation])


_PARAMS = {Operation.CHAT: "messages", Operation.COMPLETION: "prompt", Operation.EMBEDDINGS: "input"}
