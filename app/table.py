"""The immutable routing table: what a request needs to know of the configuration, worked out once.

Built purely from a `Config` and swapped whole: a request reads `State.table` once and keeps that table to its end.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

from app import config
from app.config import Config, Secret
from app.exchange import (
    UPSTREAM_OPERATIONS,
    Arm,
    Endpoint,
    Operation,
    Principal,
    PromptFormat,
    Provider,
    Scaffold,
    Timeouts,
)
from app.metering import Allowances
from app.people import FOUND_BY, NOBODY, People
from app.prices import Prices
from app.scaffolds import Scaffolding
from app.scopes import Scopes, shadow_budgets

try:
    # CPython's own: OpenSSL's, which hashlib prefers, sets up a context each time (on the path 2 µs more).
    from _sha256 import sha256  # type: ignore[import-not-found, unused-ignore]  # typeshed leaves it out
except ImportError:  # since Python 3.12 it is called otherwise
    from hashlib import sha256

ANONYMOUS = Principal(tenant="default", key="anonymous")
"""Every caller of a gateway that has no tenants and listens on a loopback address."""

_PICO_USD_PER_TOKEN = 10**6
"""Prices are written in USD per million tokens: 1 USD / 10^6 tokens = 10^12 pico-USD / 10^6 tokens."""
_PICO_USD = 10**12
_PORTS = {"http": 80, "https": 443}
_REASONING = re.compile(r"(o[1-9]|gpt-[5-9])([-.]|$)")
_EVERY_OPERATION = frozenset(UPSTREAM_OPERATIONS)
_SPOKEN: Mapping[Provider, frozenset[Operation]] = {
    Provider.ANTHROPIC: frozenset({Operation.CHAT, Operation.TOKENIZE}),
    Provider.AZURE_OPENAI: frozenset({Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDINGS}),
    Provider.GEMINI: frozenset({Operation.CHAT, Operation.EMBEDDINGS, Operation.TOKENIZE}),
    Provider.OPENAI: frozenset({Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDINGS}),
}
"""What a provider's API can do, where that is not everything."""
_T = TypeVar("_T")
_Ring = Mapping[bytes, tuple[bytes, _T]]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment, ready to be called.

    `headers` are lower-case and may hold credentials. `cancel_allowance` is in tokens, None where the provider bills
    a cancelled answer to its end (`full`). `health` and `metrics` are paths from the server's root, None where there is
    nothing to ask. `catalog` is told to whoever asks what models there are, never acted on.
    `drop_params` are fields of requests that are not sent; `output_cap` is the name by which a cap on output is sent,
    None where it keeps the caller's; `api_version` is Azure's.
    `tokenizer` is what counts its prompts: `upstream`, `bound`, or a vocabulary. `image_tokens` is the most that an
    image has, None where nobody said; `template_tokens` the most that a chat template adds of its own. `prompt_format`
    is how conversations are written for an upstream that only completes texts, None where it has chats of its own.
    """

    name: str
    provider: Provider
    model: str
    endpoints: tuple[Endpoint, ...]
    api_key: Secret | None
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    price: Prices
    timeouts: Timeouts
    context_window: int
    max_output_tokens: int
    cancel_allowance: int | None
    health: str | None
    metrics: str | None
    catalog: config.Catalog
    tokenizer: str
    image_tokens: int | None
    template_tokens: int
    prompt_format: PromptFormat | None = None
    drop_params: frozenset[str] = frozenset()
    api_version: str | None = None
    output_cap: str | None = None
    tokenizes: bool = True
    """Whether its provider can be asked how many tokens a prompt has."""

    @property
    def dialect(self) -> str:
        """What speaks to it: its provider's dialect, or that behind one that writes conversations out."""
        return self.provider if self.prompt_format is None else f"{self.provider}/completions"


Choices = tuple[tuple[Arm, Deployment], ...]
"""Deployments to try, in order, each with the role that it would serve in. Never empty."""


@dataclass(frozen=True, slots=True)
class Watch:
    """A rollout whose requests are observed.

    `epoch` numbers its weights. A request is watched for `horizon` seconds. `reads`: its gates ask what answers say.
    """

    model: str
    epoch: int
    horizon: float
    reads: bool


@dataclass(frozen=True, slots=True)
class Live:
    """What the store says of a model's rollout: it owns the weight. `run` counts its starts: each draws users anew."""

    stable: str
    candidate: str
    weight: float
    sticky: Literal["user", "key", "none"]
    run: int
    active: bool
    watch: Watch


@dataclass(frozen=True, slots=True)
class Split:
    """How a model's traffic is divided between stable and its candidate.

    `weight` is the candidate's percent. `sticky` says who keeps to one arm, `salt` (at most 64 bytes) makes each
    rollout draw anew. `operations` are those that the candidate speaks: the rest stays with stable. `choices` are those
    of the candidate's requests: what it fails to answer goes to stable first. `watch` is None while nobody measures.
    """

    candidate: Deployment
    weight: float
    sticky: Literal["user", "key", "none"]
    salt: bytes
    operations: frozenset[Operation]
    choices: Choices
    watch: Watch | None = None


@dataclass(frozen=True, slots=True)
class Shadow:
    """A deployment that gets copies of a model's requests: `sample` is their share, `allowances` what they may cost.

    `embedding_similarity` tells that answers are compared in meaning too.
    """

    model: str
    deployment: Deployment
    sample: float
    max_concurrent: int
    operations: frozenset[Operation]
    allowances: Allowances
    embedding_similarity: bool = False


@dataclass(frozen=True, slots=True)
class Overflow:
    """What happens to a request that does not fit, and what that may take."""

    policy: config.TokenLimit
    summarise_with: str | None
    summary_tokens: int
    max_pieces: int


@dataclass(frozen=True, slots=True)
class Model:
    """A public name, the deployment that serves it, and those to try when it fails, in order.

    `overflow` is what happens to a request that does not fit the context window.
    `choices` are these as a plan. `split` is None where there is no candidate; `rolled` tells that a rollout is
    configured for it. `pins` are the deployments that `x-sluicegate-pin` may name, each with its role. `guard` is None
    where nobody looks at prompts and completions. `scaffolds` is what each deployment is told before the caller's own
    messages, by its name; None where none is told anything. `drop_params` are fields that no deployment gets.
    """

    name: str
    stable: Deployment
    fallbacks: tuple[Deployment, ...]
    choices: Choices
    split: Split | None
    rolled: bool
    shadow: Shadow | None
    pins: Mapping[str, tuple[Arm, Deployment]]
    overflow: Overflow
    guard: config.Guard | None = None
    scaffolds: Mapping[str, Scaffold] | None = None
    drop_params: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Admin:
    """An operator's key."""

    name: str
    role: Literal["admin", "viewer"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one worker takes from callers: bytes of a body, requests at a time, seconds for a body to arrive."""

    max_body_bytes: int
    max_in_flight: int
    body_timeout: float


class _Named(NamedTuple):
    """What the file says of a tenant: the names of its keys, and whether its requests may be copied."""

    keys: frozenset[str]
    shadow: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Everything that requests look up.

    `version` names the configuration that the table was built from; it does not depend on secrets' values. `keys` and
    `admins` hold SHA-256 digests, no secrets: first half to second half and holder. `people` are the tenants and keys
    that the database holds; what `keys` and `tenants` name comes first.
    """

    version: str
    models: Mapping[str, Model]
    deployments: Mapping[str, Deployment]
    guards: Mapping[str, config.Guard]
    keys: _Ring[Principal] = field(repr=False)
    tenants: Mapping[str, _Named]
    admins: _Ring[Admin] = field(repr=False)
    people: People = field(repr=False, compare=False)
    bounds: Bounds
    scopes: Scopes = field(repr=False, compare=False)
    """What each request is held to."""

    @property
    def anonymous(self) -> Principal | None:
        """Who calls where callers need no key, else None."""
        return None if self.tenants or self.people else ANONYMOUS

    def principal(self, secret: bytes | None) -> Principal | None:
        """Who holds this credential; None where it is not known. Without tenants everybody is `anonymous`."""
        if (anybody := self.anonymous) is not None:
            return anybody
        if secret is None:
            return None
        digest = sha256(secret).digest()
        holder = _holder(self.keys, digest)
        if holder is not None or not self.people:
            return holder
        stored = _holder(self.people.keys, digest)
        return None if stored is None else self._in_force(stored)

    def _in_force(self, stored: Principal) -> Principal | None:
        """A stored key as it holds beside what the file says of its tenant; None where it does not hold."""
        shadow = self.people.shadow(stored.tenant)
        if shadow is None:
            return None
        named = self.tenants.get(stored.tenant)
        if named is not None:
            if stored.key in named.keys:
                return None
            shadow = named.shadow
        return stored if stored.shadow == shadow else replace(stored, shadow=shadow)

    def admin(self, secret: bytes | None) -> Admin | None:
        """The operator who holds this credential; None where it is not known."""
        return None if secret is None else _holder(self.admins, sha256(secret).digest())


class State:
    """Where the running table is kept. `table` is replaced by one assignment, never changed."""

    __slots__ = ("table",)

    def __init__(self, table: Table) -> None:
        self.table = table


def build(settings: Config, people: People = NOBODY) -> Table:
    """The table of a configuration. Pure: equal configurations give equal tables."""
    deployments = {one.name: _deployment(one) for one in settings.deployments}
    guards = {one.name: one for one in settings.guards}
    scaffolding = Scaffolding(settings)
    models = {
        one.name: replace(_model(one, deployments, guards), scaffolds=scaffolding.of(one)) for one in settings.models
    }
    keys = ((key.secret.digest, _principal(tenant, key)) for tenant in settings.tenants for key in tenant.keys)
    server = settings.server
    return Table(
        version=config.version(settings),
        models=MappingProxyType(models),
        deployments=MappingProxyType(deployments),
        guards=MappingProxyType(guards),
        keys=_ring(keys),
        tenants={
            one.name: _Named(frozenset(key.name for key in one.keys), one.allow_shadow) for one in settings.tenants
        },
        admins=_ring(_admins(settings.admin)),
        people=people,
        bounds=Bounds(server.max_body_bytes, server.max_in_flight, server.body_timeout),
        scopes=Scopes(settings, people),
    )


def _ring(holders: Iterable[tuple[bytes, _T]]) -> _Ring[_T]:
    return MappingProxyType({digest[:FOUND_BY]: (digest[FOUND_BY:], holder) for digest, holder in holders})


def _holder(ring: _Ring[_T], digest: bytes) -> _T | None:
    # Half of the digest finds the entry, the other half is compared in constant time. Nobody can choose the digest of
    # what they send, so the time of the search tells nothing about a secret either.
    entry = ring.get(digest[:FOUND_BY])
    return entry[1] if entry is not None and hmac.compare_digest(entry[0], digest[FOUND_BY:]) else None


def _principal(tenant: config.Tenant, key: config.Key) -> Principal:
    models = frozenset(key.models) if key.models is not None else None
    return Principal(tenant.name, key.name, models, key.pin, tenant.allow_shadow)


def _admins(admin: config.Admin) -> Iterator[tuple[bytes, Admin]]:
    if admin.key is not None:
        yield admin.key.digest, Admin("admin", "admin")
    for key in admin.keys:
        yield key.secret.digest, Admin(key.name, key.role)


def _model(one: config.Model, deployments: Mapping[str, Deployment], guards: Mapping[str, config.Guard]) -> Model:
    stable = deployments[one.stable]
    fallbacks = tuple(deployments[name] for name in one.fallbacks)
    pins = {found.name: (Arm.FALLBACK, found) for found in fallbacks} | {stable.name: (Arm.STABLE, stable)}
    split = None
    if one.candidate is not None:
        candidate = deployments[one.candidate]
        pins[candidate.name] = Arm.CANDIDATE, candidate
        split = Split(
            candidate=candidate,
            weight=one.weight or 0.0,
            sticky=one.sticky,
            salt=_salt(one.name, candidate.name, 0),
            operations=_SPOKEN.get(candidate.provider, _EVERY_OPERATION),
            choices=_choices(Arm.CANDIDATE, candidate, (stable, *fallbacks)),
        )
    return Model(
        name=one.name,
        stable=stable,
        fallbacks=fallbacks,
        choices=_choices(Arm.STABLE, stable, fallbacks),
        split=split,
        rolled=one.rollout is not None,
        shadow=_shadow(one, deployments),
        pins=MappingProxyType(pins),
        overflow=Overflow(one.token_limit, one.summarise_with, one.summary_tokens, one.max_chunks),
        guard=guards[one.guard] if one.guard is not None else None,
        drop_params=frozenset(one.drop_params),
    )


def _shadow(one: config.Model, deployments: Mapping[str, Deployment]) -> Shadow | None:
    if one.shadow is None:
        return None
    to = deployments[one.shadow.to]
    return Shadow(
        model=one.name,
        deployment=to,
        sample=one.shadow.sample,
        max_concurrent=one.shadow.max_concurrent,
        operations=_SPOKEN.get(to.provider, _EVERY_OPERATION),
        allowances=Allowances(shadow_budgets(one)),
        embedding_similarity=one.shadow.embedding_similarity,
    )


def with_rollouts(table: Table, lives: Mapping[str, Live] | None) -> Table:
    """The table with the weights that the store owns. Pure.

    While the store has not been read (None), a candidate with a rollout gets nothing: it may have been rolled back.
    """
    models = {}
    for name, model in table.models.items():
        live = None if lives is None else lives.get(name)
        if lives is None and model.rolled and model.split is not None:
            models[name] = replace(model, split=replace(model.split, weight=0.0))
        elif live is not None and applies(table, live, model):
            models[name] = _live(table, live, model)
    return replace(table, models=MappingProxyType({**table.models, **models})) if models else table


def applies(table: Table, live: Live, model: Model) -> bool:
    """Whether a stored rollout is about the deployments that the model has now.

    One that is under way goes on with its candidate, whatever candidate the file names; one that is over is about the
    pair of then.
    """
    named = model.split.candidate.name if model.split is not None else live.candidate
    known = model.stable.name == live.stable and live.candidate in table.deployments
    return known and (live.active or named == live.candidate)


def _live(table: Table, live: Live, model: Model) -> Model:
    candidate = table.deployments[live.candidate]
    split = Split(
        candidate=candidate,
        weight=live.weight,
        sticky=live.sticky,
        salt=_salt(model.name, candidate.name, live.run),
        operations=_SPOKEN.get(candidate.provider, _EVERY_OPERATION),
        choices=_choices(Arm.CANDIDATE, candidate, (model.stable, *model.fallbacks)),
        watch=live.watch if live.active else None,
    )
    pins = {**model.pins, candidate.name: (Arm.CANDIDATE, candidate)}
    return replace(model, split=split, pins=MappingProxyType(pins))


def _salt(model: str, candidate: str, run: int) -> bytes:
    # The names are hashed: a salt has at most 64 bytes, and no two rollouts share one.
    return hashlib.blake2b(f"{model}\0{candidate}\0{run}".encode(), digest_size=32).digest()


def _choices(arm: Arm, first: Deployment, others: tuple[Deployment, ...]) -> Choices:
    return (arm, first), *((Arm.FALLBACK, one) for one in others if one is not first)


def _deployment(one: config.Deployment) -> Deployment:
    proxy = one.proxy.reveal() if isinstance(one.proxy, Secret) else one.proxy
    return Deployment(
        name=one.name,
        provider=Provider(one.provider),
        model=one.model,
        endpoints=tuple(endpoint_of(url, proxy, http2=one.http2) for url in one.urls),
        api_key=one.api_key,
        headers=headers_of(one.headers),
        price=_price(one.price),
        timeouts=Timeouts(**one.timeouts.model_dump()),
        context_window=one.context_window,
        max_output_tokens=one.max_output_tokens,
        cancel_allowance=None if one.cancel_allowance == "full" else one.cancel_allowance,
        health=one.health,
        metrics=one.metrics,
        catalog=one.catalog,
        tokenizer=one.tokenizer,
        image_tokens=one.image_tokens,
        template_tokens=one.template_tokens,
        prompt_format=config.FORMATS[one.prompt_format] if one.prompt_format is not None else None,
        drop_params=frozenset(one.drop_params),
        api_version=one.api_version,
        output_cap=one.output_cap or _output_cap(one),
        tokenizes=Operation.TOKENIZE in _SPOKEN.get(Provider(one.provider), _EVERY_OPERATION),
    )


def _output_cap(one: config.Deployment) -> str | None:
    # OpenAI's reasoning models refuse `max_tokens`; what else speaks its API, and Azure's names, tell nothing.
    reasons = one.provider == "openai" and one.prompt_format is None and _REASONING.match(one.model)
    return "max_completion_tokens" if reasons else None


def headers_of(settings: Mapping[str, Secret | str]) -> tuple[tuple[str, str], ...]:
    """Configured headers with their secrets in the clear, ready to be sent."""
    return tuple((name, value.reveal() if isinstance(value, Secret) else value) for name, value in settings.items())


def endpoint_of(url: str, proxy: str | None = None, *, http2: bool = False) -> Endpoint:
    """An address, taken apart."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return Endpoint(parts.scheme, host, parts.port or _PORTS[parts.scheme], parts.path.rstrip("/"), proxy, http2)


def _price(price: config.Price) -> Prices:
    image, request, long = int(price.image * _PICO_USD), int(price.request * _PICO_USD), price.long_prompt
    made = Prices(**_rates(price), image=image, request=request)
    if long is None:
        return made
    return replace(made, long=Prices(**_rates(long), image=image, request=request), long_above=long.above)


def _rates(price: config.Price | config.LongPrompt) -> dict[str, Any]:
    kinds = ("input", "output", "cached_input", "cache_write", "reasoning")
    found: dict[str, Decimal | None] = {kind: getattr(price, kind) for kind in kinds}
    return {kind: None if usd is None else int(usd * _PICO_USD_PER_TOKEN) for kind, usd in found.items()}
