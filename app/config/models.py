"""The settings of models: the names that callers use, and how traffic moves between the deployments behind them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from app.config.deployments import ParamName
from app.config.templates import TemplateRef
from app.config.tenancy import Budget
from app.config.types import Amount, Duration, Fraction, Name, Percent, Settings, Timeout, Tokens, Usd

TokenLimit = Literal["reject", "clamp", "truncate", "summarise", "chunk"]


def _step(value: object) -> object:
    return {"weight": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class Step(Settings):
    """One step of a rollout; a plain number is short for `weight`."""

    weight: Annotated[Percent, Field(gt=0)]
    """Percent of the traffic that the candidate gets."""
    hold: Annotated[Duration, Field(ge=0, le=30 * 86400)] = 600.0
    """How long the step lasts at least."""
    min_requests: Amount = 200
    """Requests that the candidate must have served in it."""


class Gate(Settings):
    """A kind of bad event that is tested for being more frequent in the candidate."""

    share: Annotated[Fraction, Field(gt=0)] | None = None
    """Its part of `alpha`; left out: error has half, harm a fifth, the others share the rest."""
    margin: Annotated[Fraction, Field(lt=1)] = 0.0
    """How much worse the candidate may be: 0.01 is one request in a hundred."""
    prove: bool = False
    """Whether the last comparison waits until it is shown that the candidate is within the margin."""


class SlowGate(Gate):
    """Counts what took long; write `seconds` or `quantile`."""

    seconds: Timeout | None = None
    """From when on it is late."""
    quantile: Annotated[Fraction, Field(gt=0, lt=1)] | None = None
    """Or: later than this share of stable's requests so far."""


class CostGate(Gate):
    """Counts answers that cost much."""

    over_usd: Usd
    """From what cost on an answer is dear."""


class QualityGate(Gate):
    """Counts answers whose feedback (`POST /v1/feedback`) is bad."""

    below: float
    """Scores below this are bad."""


class Gates(Settings):
    """What a candidate is watched for."""

    error: Gate | None = None
    """Failed requests, those that a fallback rescued too."""
    slow_first_token: SlowGate | None = None
    """Late first tokens, in streams."""
    slow_total: SlowGate | None = None
    """Answers that took long as a whole."""
    harm: Gate | None = None
    """Guard hits in completions."""
    refusal: Gate | None = None
    """Answers that decline."""
    cost: CostGate | None = None
    """Answers that cost much."""
    truncated: Gate | None = None
    """Answers cut by their length."""
    bad_format: Gate | None = None
    """Answers that are not the JSON which the request's `response_format` asks for."""
    low_quality: QualityGate | None = None
    """Bad feedback."""


class Rollout(Settings):
    """How a candidate takes over."""

    steps: Annotated[tuple[Annotated[Step, BeforeValidator(_step)], ...], Field(min_length=1, max_length=100)]
    """Rising weights."""
    alpha: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    """Chance that a candidate as good as stable is rolled back, over the whole rollout."""
    gates: Gates = Gates(error=Gate())
    """Bad events that it is watched for."""
    mode: Literal["auto", "manual"] = "auto"
    """Whether a passed step leads to the next by itself."""
    on_failure: Literal["rollback", "pause"] = "rollback"
    """What a failed gate does."""
    horizon: Annotated[Duration, Field(gt=0, le=3600)] = 120.0
    """How long a request is watched: one that has brought nothing by then has failed, one that goes on has not."""
    patience: Annotated[Duration, Field(gt=0, le=90 * 86400)] | None = None
    """How long a step may wait for enough data before the rollout pauses; left out: a day, or three times its hold."""


class Shadow(Settings):
    """A sampled copy of the traffic, off the callers' path."""

    to: Name
    """The deployment that gets the copy."""
    sample: Fraction
    """Share of requests that are copied."""
    max_concurrent: Annotated[int, Field(ge=1, le=10_000)] = 8
    """Copies under way at a time; one more is dropped."""
    budget: Budget
    """What copies may cost."""
    embedding_similarity: bool = False
    """Whether both texts' meanings are compared too, by a sentence encoder; needs the `safety` extra."""


class Model(Settings):
    """A name that callers use."""

    name: Name
    """What a caller puts into `model`."""
    stable: Name
    """The deployment that serves it."""
    candidate: Name | None = None
    """The deployment that may take over."""
    weight: Percent | None = None
    """Percent of the traffic that the candidate gets at first; while a rollout is active the store owns it."""
    rollout: Rollout | None = None
    """How the candidate takes over."""
    sticky: Literal["user", "key", "none"] = "user"
    """What keeps to one arm: `user` (`x-sluicegate-affinity`, `safety_identifier` or `user` of the request), `key`,
    or `none`: every request is drawn anew."""
    shadow: Shadow | None = None
    """A copy of the traffic to another deployment."""
    fallbacks: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    """Deployments to try, in order, when the one before failed before its first byte."""
    template: TemplateRef | None = None
    """The prompt template that stands before the caller's own system prompt."""
    guard: Name | None = None
    """The guard that looks at prompts and completions."""
    token_limit: TokenLimit = "reject"  # noqa: S105 - no password
    """What happens to a request that does not fit into the context window: refused, its output cap lowered, old turns
    dropped, old turns summarised, or its text worked through in pieces."""
    summarise_with: Name | None = None
    """The model that writes the summaries; needed where `token_limit` is `summarise`. The caller's tenant pays."""
    summary_tokens: Tokens = 512
    """Most tokens of a summary."""
    max_chunks: Annotated[int, Field(ge=2, le=256)] = 32
    """Most pieces into which a text is cut where `token_limit` is `chunk`, or from which a summary is made; a text that
    would need more is refused."""
    drop_params: Annotated[tuple[ParamName, ...], Field(max_length=64)] = ()
    """Fields of requests that are left out, whichever deployment serves; a deployment may list more."""
    budgets: tuple[Budget, ...] = ()
    """What all callers together may use of it."""
