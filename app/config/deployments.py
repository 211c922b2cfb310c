"""The settings of deployments: what stands behind the models."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, ValidationInfo, model_validator

from app.config.addresses import HttpUrl, ProxyUrl
from app.config.catalogue import filled
from app.config.formats import FormatName
from app.config.problems import wrong
from app.config.secret import Secret, is_reference
from app.config.templates import TemplateRef
from app.config.types import CATALOGUE, Label, Name, Settings, Text, Timeout, Tokens, Usd
from app.config.vocabularies import Tokenizer

_FIELD_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")
_FIELD_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,4000}[\x21-\x7e])?")
_OWN_FIELDS = frozenset(
    (
        *("accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host"),
        *("keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade", "x-request-id"),
    )
)

_NEEDED = frozenset(
    (
        *("best_of", "documents", "input", "max_completion_tokens", "max_tokens", "messages", "model", "n", "prompt"),
        *("query", "stream", "stream_options", "text_1", "text_2"),
    )
)


def _header_name(value: object) -> object:
    name = value.lower() if isinstance(value, str) else ""
    if not _FIELD_NAME.fullmatch(name):
        raise wrong("is not a header's name")
    if name in _OWN_FIELDS:
        raise wrong("is a header that the gateway sets itself", "Remove it.")
    return name


def _header_value(value: object, info: ValidationInfo) -> Secret | str:
    if isinstance(value, Secret):
        return value
    if is_reference(value):
        return Secret.parse(value, info, spaces=True)
    if not isinstance(value, str) or not _FIELD_VALUE.fullmatch(value):
        raise wrong("must be visible ASCII text on one line", "Put it in quotes if it looks like a number.")
    return value


def _param(value: object) -> object:
    if isinstance(value, str) and value in _NEEDED:
        raise wrong("is a field that no request can do without, or that bounds what it may cost", "Remove it.")
    return value


def _cancel_allowance(value: object) -> int | Literal["full"]:
    if value == "full" or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**9):
        return value
    raise wrong(
        "must be a number of tokens or `full`", "`full` is for a provider that bills a cancelled answer to its end."
    )


def _shown(value: Secret | str) -> str:
    return value.reference if isinstance(value, Secret) else value


Modality = Literal["text", "image", "pdf", "audio", "video"]
HeaderName = Annotated[str, BeforeValidator(_header_name), Label("header")]
HeaderValue = Annotated[
    Secret | str, PlainValidator(_header_value), PlainSerializer(_shown), Label("text or reference")
]
ParamName = Annotated[str, BeforeValidator(_param), Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$"), Label("field")]
ApiVersion = Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,40}$"), Label("version")]
UrlPath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9._~/-]*$"), Label("path")]


class LongPrompt(Settings):
    """What a request costs whose prompt is a long one, all its tokens; US dollars per million."""

    above: Tokens
    """From how many prompt tokens on, those read from a cache included: one more than this is a long prompt."""
    input: Usd
    """Prompt tokens."""
    output: Usd
    """Generated tokens, reasoning included."""
    cached_input: Usd | None = None
    """Prompt tokens that the provider read from its cache; left out: as `input`."""
    cache_write: Usd | None = None
    """Prompt tokens that the provider wrote into its cache; left out: as `input`."""
    reasoning: Usd | None = None
    """Generated tokens that were reasoning; left out: as `output`."""


class Price(Settings):
    """US dollars per million tokens, images and requests apart."""

    input: Usd
    """Prompt tokens."""
    output: Usd
    """Generated tokens, reasoning included."""
    cached_input: Usd | None = None
    """Prompt tokens that the provider read from its cache; left out: as `input`."""
    cache_write: Usd | None = None
    """Prompt tokens that the provider wrote into its cache; left out: as `input`."""
    reasoning: Usd | None = None
    """Generated tokens that were reasoning; left out: as `output`."""
    image: Usd = Decimal(0)
    """US dollars per image in a prompt, beside its tokens."""
    request: Usd = Decimal(0)
    """US dollars per request, beside its tokens."""
    long_prompt: LongPrompt | None = None
    """Other prices for requests with long prompts."""


class Catalog(Settings):
    """What people want to know of a model; shown, never acted on."""

    model: Text | None = None
    """Its name in the catalogue; left out: the deployment's `model`."""
    parameters: Text | None = None
    """Size of the model, for example `8B`; left out: the catalogue's, as all below."""
    license: Text | None = None
    """Licence of the weights."""
    input: Annotated[tuple[Modality, ...], Field(max_length=8)] = ()
    """What it takes."""
    output: Annotated[tuple[Literal["text", "image", "audio", "embedding"], ...], Field(max_length=8)] = ()
    """What it makes."""
    source: Text | None = None
    """Where its price is published."""
    date: Text | None = None
    """When that was checked."""


class Timeouts(Settings):
    """How long an upstream may take."""

    connect: Timeout = 2.0
    """To accept a connection, TLS included."""
    first_token: Timeout = 30.0
    """To send the first event; streams only."""
    between_tokens: Timeout = 20.0
    """Between two events; streams only."""
    total: Timeout = 600.0
    """For everything, retries and fallbacks included."""


class Deployment(Settings):
    """One concrete version of a model behind one provider."""

    name: Name
    """Its name; stands in metrics, logs and the header `x-sluicegate-deployment`."""
    provider: Literal["vllm", "openai", "azure_openai", "anthropic", "gemini"]
    """The dialect that its upstream speaks; `vllm` also suits SGLang, llama.cpp and the like."""
    base_url: HttpUrl | None = None
    """Address of its only endpoint, up to and with the version (`/v1`, Gemini's `/v1beta`; Azure's resource alone, or
    with `/openai/v1`); either this or `endpoints`."""
    endpoints: Annotated[tuple[HttpUrl, ...], Field(max_length=256)] = ()
    """Addresses of its replicas: least in flight first, an unhealthy one leaves until it answers again."""
    model: Text
    """The upstream's own name of the model."""
    api_key: Secret | None = None
    """Reference to the upstream's credential."""
    context_window: Annotated[Tokens, CATALOGUE]
    """Tokens that prompt and answer may have together; left out: the catalogue's, by `provider` and `model`, where
    it knows them."""
    max_output_tokens: Annotated[Tokens, CATALOGUE]
    """Most tokens of one answer, assumed where a caller gives no cap of its own; left out: the catalogue's, where it
    knows the model."""
    price: Annotated[Price, CATALOGUE]
    """What its tokens cost; left out: the catalogue's, where it knows the model and somebody sells it by the token."""
    catalog: Catalog = Catalog()
    """What people want to know of it."""
    tokenizer: Tokenizer = "bound"
    """What counts its prompts when they might not fit: the `upstream` (vLLM's `/tokenize`), a vocabulary, the path of a
    `tokenizer.json`, or nothing but the `bound` from bytes. Left out: `upstream` for `vllm`, else `bound`."""
    template_tokens: Annotated[int, Field(ge=0, le=10**6)] = 16
    """Most tokens that its chat template adds to a conversation by itself, such as a system prompt of its own.
    Left out: 16 for `openai` and `azure_openai`, else 512."""
    template: TemplateRef | None = None
    """The prompt template for what this deployment serves, in the place of the model's: so a rollout can try one."""
    prompt_format: FormatName | None = None
    """How conversations are written for an upstream that only has `/completions`; left out: it has chats of its own."""
    image_tokens: Tokens | None = None
    """Most tokens of one image. Left out: an image may fill the context window."""
    timeouts: Timeouts = Timeouts()
    """How long it may take."""
    cancel_allowance: Annotated[
        int | Literal["full"], PlainValidator(_cancel_allowance), Label("whole number or `full`")
    ] = 16
    """Tokens charged beyond those counted when a stream is cut; `full` where a provider bills on."""
    health: UrlPath | None = None
    """Path that answers 200 while an endpoint is well, from the server's root; null asks nothing.
    Left out: `/health` for `vllm`, else null."""
    metrics: UrlPath | None = None
    """Path of the engine's own Prometheus metrics, from the server's root; null asks nothing.
    Left out: `/metrics` for `vllm`, else null."""
    proxy: ProxyUrl | None = None
    """Proxy on the way to it (`http`, `https`, `socks5`, `socks5h`); one with a password by reference."""
    http2: bool = False
    """Whether to speak HTTP/2 where the upstream offers it."""
    drop_params: Annotated[tuple[ParamName, ...], Field(max_length=64)] = ()
    """Fields of requests that are left out on the way to it: what it cannot do and callers send all the same."""
    output_cap: Literal["max_tokens", "max_completion_tokens"] | None = None
    """The name by which it takes the cap on output; left out: the caller's, but `max_completion_tokens` for OpenAI's
    reasoning models."""
    api_version: ApiVersion | None = None
    """Azure's `api-version`; left out: 2024-10-21, and none for addresses that end in `/openai/v1`."""
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Headers that every request to it carries; credentials by reference, for example `authorization: env:NAME`."""

    @model_validator(mode="before")
    @classmethod
    def _of_provider_and_catalogue(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        provider = data.get("provider")
        is_vllm, is_openai = provider == "vllm", provider in ("openai", "azure_openai")
        usual = {
            "health": "/health" if is_vllm else None,
            "metrics": "/metrics" if is_vllm else None,
            "tokenizer": "upstream" if is_vllm else "bound",
            "template_tokens": 16 if is_openai else 512,
        }
        return usual | filled(data)

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of its endpoints, however they were written."""
        return self.endpoints if self.base_url is None else (self.base_url,)
