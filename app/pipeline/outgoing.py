"""What goes to one deployment: the caller's body, with the cap on its answer that this deployment stands to."""

from __future__ import annotations

from app.exchange import Call, Count, Operation
from app.table import Deployment


def cap(call: Call, deployment: Deployment, prompt: Count) -> int:
    """The most tokens of one answer that are asked of a deployment.

    The caller's cap, or the deployment's where it gave none or a higher one; lowered to the room that the prompt
    leaves in the window where it may be. Where no room is left for certain, the upstream has the last word.
    """
    asked, most = call.max_output_tokens, deployment.max_output_tokens
    wanted = most if asked is None or asked > most else asked
    room = deployment.context_window - prompt.longest
    return room if call.soft_cap and 1 <= room < wanted else wanted


def outgoing(call: Call, deployment: Deployment, prompt: Count) -> Call:
    """The call as this deployment gets it: no answer is made that nobody has put a cap on.

    Completions without a cap stay so: their upstreams make 16 tokens then.
    """
    asked = call.max_output_tokens
    if call.operation is not Operation.CHAT and (asked is None or call.operation is not Operation.COMPLETION):
        return call
    most = cap(call, deployment, prompt)
    if most == asked:
        return call
    body = call.body
    if body.get("max_completion_tokens") is not None:
        names = ("max_completion_tokens", "max_tokens") if body.get("max_tokens") is not None else _ONE
    elif body.get("max_tokens") is not None or call.operation is Operation.COMPLETION:
        names = _OTHER
    else:
        names = _ONE if deployment.output_cap == "max_completion_tokens" else _OTHER
    body = {**body, names[0]: most} if len(names) == 1 else {**body, **dict.fromkeys(names, most)}
    return Call(
        call.operation, call.model, call.stream, call.include_usage, body, call.size, most, call.choices, call.prompts,
        call.images, call.foreign, call.plain, call.media, call.soft_cap,
    )  # fmt: skip


_ONE = ("max_completion_tokens",)
_OTHER = ("max_tokens",)
