"""The fields of a chat request, taken one by one by a translating dialect, so that none can be forgotten.

What the provider cannot do is a 400 that names the field, unless the deployment's `drop_params` lists it. Fields that
nobody knows go up untouched. `user` and `safety_identifier` are for the gateway itself too; `documents` is only for it.
"""

from __future__ import annotations

from typing import Any, Final

from app.errors import GatewayError, refused
from app.exchange import Call, JsonObject
from app.table import Deployment

_OPENAI: Final = frozenset(
    (
        *("audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs"),
        *("max_completion_tokens", "max_tokens", "metadata", "modalities", "moderation", "n", "parallel_tool_calls"),
        *("prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        *("reasoning_effort", "response_format", "seed", "service_tier", "stop", "store", "temperature", "tool_choice"),
        *("tools", "top_k", "top_logprobs", "top_p", "verbosity", "web_search_options"),
    )
)
"""Fields of OpenAI's chat completions, and `top_k`: a provider that has nothing like one refuses it."""

ANTHROPIC_ONLY: Final = frozenset(
    (
        *("cache_control", "container", "context_management", "diagnostics", "inference_geo", "mcp_servers", "speed"),
        *("thinking", "user_profile_id", "workspace_id"),
    )
)
"""Fields of Anthropic's messages that mean nothing anywhere else."""

_OURS: Final = frozenset(
    {"documents", "messages", "model", "safety_identifier", "stream", "stream_options", "user"},
)
_NOTHING: Final[dict[str, tuple[Any, ...]]] = {
    "frequency_penalty": (0,), "logit_bias": ({},), "logprobs": (False,), "metadata": ({},), "n": (1,),
    "modalities": (["text"],), "presence_penalty": (0,), "store": (False,), "thinking": ({"type": "disabled"},),
    "tools": ([],), "top_logprobs": (0,), "verbosity": ("medium",), "service_tier": ("auto",), "functions": ([],),
    "parallel_tool_calls": (True,),
}  # fmt: skip
"""Values that ask for what happens anyway."""


def dropped(body: JsonObject, deployment: Deployment) -> JsonObject:
    """The body without what the deployment's `drop_params` lists."""
    drop = deployment.drop_params
    return {name: value for name, value in body.items() if name not in drop} if drop else body


def means_nothing(name: str, value: Any) -> bool:
    """Whether a field asks for nothing that would not happen without it."""
    return value is None or value in _NOTHING.get(name, ())


class Asked:
    """The fields that have not been taken yet."""

    def __init__(self, call: Call, deployment: Deployment) -> None:
        self._provider = deployment.provider
        self._fields = dropped(call.body, deployment)
        self._taken: set[str] = set()

    def take(self, name: str) -> Any:
        """The value of a field that the provider knows something like; None where it is not given."""
        self._taken.add(name)
        return self._fields.get(name)

    def number(self, name: str, least: float, most: float) -> float | None:
        """A number from `least` to `most`."""
        value = self.take(name)
        if value is None:
            return None
        if type(value) not in (int, float) or not least <= value <= most:
            raise self.cannot(name, f"it must be a number from {least:g} to {most:g} there")
        return float(value) if type(value) is float else value

    def integer(self, name: str, least: int = 0) -> int | None:
        """An integer of at least `least`."""
        value = self.take(name)
        if value is None:
            return None
        if type(value) is not int or value < least:
            raise refused(name, f"`{name}` must be an integer of at least {least}.")
        return value

    def flag(self, name: str) -> bool | None:
        """True or false."""
        value = self.take(name)
        if value is not None and type(value) is not bool:
            raise refused(name, f"`{name}` must be true or false.")
        return value

    def stops(self, most: int | None = None) -> list[str]:
        """The strings at which the answer ends."""
        value = self.take("stop")
        found = [value] if type(value) is str else value or []
        if type(found) is not list or not all(type(one) is str and one for one in found):
            raise refused("stop", "`stop` must be a string or an array of strings that are not empty.")
        if most is not None and len(found) > most:
            raise self.cannot("stop", f"it takes at most {most}")
        return found

    def rest(self) -> JsonObject:
        """The fields that nobody knows. Raises `GatewayError` when one is left that the provider cannot do."""
        rest: JsonObject = {}
        for name, value in self._fields.items():
            if name in self._taken or name in _OURS or means_nothing(name, value):
                continue
            if name in _OPENAI or (name in ANTHROPIC_ONLY and self._provider != "anthropic"):
                raise self.cannot(name)
            rest[name] = value
        return rest

    def cannot(self, name: str, why: str = "it has nothing like it") -> GatewayError:
        """The refusal of a parameter."""
        head = f"`{name}` cannot be passed on to provider `{self._provider}`: {why}."
        return refused(name, f"{head} Leave it out, or have the operator list it in `drop_params`.")
