"""What goes to one deployment: the caller's body behind the model's scaffold, with the cap on its answer. Pure."""

from __future__ import annotations

from app.exchange import Call, Count, JsonObject, Operation, Scaffold
from app.pipeline.turns import PINNED, prefixed
from app.table import Deployment, Table


def shaped(call: Call, table: Table) -> Call:
    """The call without the fields that its model drops, and with what that is told first, which is put in when sent."""
    model = table.models.get(call.model)
    if model is None:
        return call
    if model.drop_params:
        call = call.without(model.drop_params)
    return call if model.scaffolds is None else Call(*call[:-1], model.scaffolds)


def told_first(messages: list[JsonObject], scaffold: Scaffold) -> list[JsonObject]:
    """The messages with the scaffold before the caller's own system prompt, in one message with it.

    Many chat templates know one system prompt, at the beginning.
    """
    first = messages[0]
    if first.get("role") in PINNED:
        return [{**first, "content": prefixed(scaffold.text, first.get("content"))}, *messages[1:]]
    return [{"role": "system", "content": scaffold.text}, *messages]


def cap(call: Call, deployment: Deployment, prompt: Count) -> int:
    """The most tokens of one answer that are asked of a deployment.

    The caller's cap, or the deployment's where it gave none or a higher one; lowered to the room that the prompt
    leaves in the window where it may be. Where no room is left for certain, the upstream has the last word.
    """
    asked, most = call.max_output_tokens, deployment.max_output_tokens
    wanted = most if asked is None or asked > most else asked
    room = deployment.context_window - prompt.longest
    return room if call.soft_cap and 1 <= room < wanted else wanted


def outgoing(
    call: Call, deployment: Deployment, prompt: Count, scaffold: Scaffold | None = None, *, held: bool = False
) -> Call:
    """The call as this deployment gets it: behind its scaffold, and no answer is made that nobody has put a cap on.

    Completions without a cap stay so (their upstreams make 16 tokens then), unless a reservation is `held` for them, as
    it always is for a copy: an upstream that is told none may make more than that.
    """
    body, asked, operation = call.body, call.max_output_tokens, call.operation
    if scaffold is not None:
        body = {**body, "messages": told_first(body["messages"], scaffold)}
    most = asked
    if operation is Operation.CHAT or (operation is Operation.COMPLETION and (held or asked is not None)):
        most = cap(call, deployment, prompt)
        names = _cap_names(call, deployment)
        if body.get(names[0]) != most or body.get(names[-1]) != most:  # more was asked, or a budget has lowered it
            body = {**body, **dict.fromkeys(names, most)}
    if body is call.body:
        return call
    return Call(
        operation, call.model, call.stream, call.include_usage, body, call.size, most, call.choices, call.prompts,
        call.images, call.foreign, call.plain, call.media, call.soft_cap, call.scaffolds,
    )  # fmt: skip


def _cap_names(call: Call, deployment: Deployment) -> tuple[str, ...]:
    """Where the cap stands: where the caller put his, else where the deployment looks for it."""
    body = call.body
    if body.get("max_completion_tokens") is not None:
        return ("max_completion_tokens", "max_tokens") if body.get("max_tokens") is not None else _ONE
    if body.get("max_tokens") is not None or call.operation is Operation.COMPLETION:
        return _OTHER
    return _ONE if deployment.output_cap == "max_completion_tokens" else _OTHER


_ONE = ("max_completion_tokens",)
_OTHER = ("max_tokens",)
