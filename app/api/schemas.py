"""The data plane's documented shapes. Requests: what the gateway checks; every other field goes through untouched.

A test holds these schemas and `pipeline.validate` equal: what one accepts or rejects, the other does.
Source: platform.openai.com/docs/api-reference.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator
from pydantic.config import JsonDict

Name = Annotated[StrictStr, Field(min_length=1, description="A public model name, as `GET /v1/models` lists it.")]
Choices = Annotated[StrictInt, Field(ge=1, le=128, description="How many answers to make.")]


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class StreamOptions(_Open):
    """Only together with `stream: true`."""

    include_usage: StrictBool | None = Field(None, description="Send a last chunk with the usage of the whole request.")


class Message(_Open):
    """One turn; tool calls, names and whatever else it has go through."""

    role: StrictStr
    content: StrictStr | list[Any] | None = None


_OPTIONS_NEED_STREAM: JsonDict = {
    "if": {"properties": {"stream_options": {"type": "object"}}, "required": ["stream_options"]},
    "then": {"properties": {"stream": {"const": True}}, "required": ["stream"]},
}


_PROMPT_OR_MESSAGES: JsonDict = {
    **_OPTIONS_NEED_STREAM,
    "oneOf": [
        {"properties": {"prompt": {"type": "string"}}, "required": ["prompt"]},
        {"properties": {"messages": {"type": "array"}}, "required": ["messages"]},
    ],
}


class Request(_Open):
    """What all requests share."""

    model_config = ConfigDict(extra="allow", json_schema_extra=_OPTIONS_NEED_STREAM)

    model: Name
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    n: Choices | None = None

    @model_validator(mode="after")
    def _options_need_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("`stream_options` is only allowed together with `stream: true`")
        return self


class ChatRequest(Request):
    """`POST /v1/chat/completions`: tools, vision parts, `response_format`, `logprobs` and vLLM's extras go through."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = Field(None, description="Output tokens per answer, at most.")
    max_completion_tokens: Annotated[StrictInt, Field(ge=1)] | None = Field(
        None, description="The newer name of `max_tokens`; where both are given they are equal."
    )

    @model_validator(mode="after")
    def _one_cap(self) -> Self:
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ValueError("`max_tokens` and `max_completion_tokens` contradict each other")
        return self


class CompletionRequest(Request):
    """`POST /v1/completions`."""

    prompt: StrictStr | Annotated[list[Any], Field(min_length=1)]
    max_tokens: Annotated[StrictInt, Field(ge=0)] | None = Field(None, description="Output tokens per answer, at most.")


class EmbeddingsRequest(Request):
    """`POST /v1/embeddings`. Not streamed."""

    stream: Annotated[StrictBool, Field(json_schema_extra={"const": False})] | None = None
    input: StrictStr | Annotated[list[Any], Field(min_length=1)]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.stream:
            raise ValueError("Embeddings cannot be streamed")
        return self


class _Whole(Request):
    """A request whose answer cannot be streamed."""

    stream: Annotated[StrictBool, Field(json_schema_extra={"const": False})] | None = None

    @model_validator(mode="after")
    def _not_streamed(self) -> Self:
        if self.stream:
            raise ValueError("this cannot be streamed")
        return self


class RerankRequest(_Whole):
    """`POST /v1/rerank`: Cohere's and Jina's shape, as vLLM serves it."""

    query: Annotated[StrictStr, Field(min_length=1)]
    documents: Annotated[list[Any], Field(min_length=1)]
    top_n: Annotated[StrictInt, Field(ge=1)] | None = Field(None, description="How many of the best to return.")


class ScoreRequest(_Whole):
    """`POST /v1/score`: vLLM's; one text against another, or against each of several."""

    text_1: StrictStr | Annotated[list[Any], Field(min_length=1)]
    text_2: StrictStr | Annotated[list[Any], Field(min_length=1)]


class TokenizeRequest(_Whole):
    """`POST /tokenize`: vLLM's; a `prompt`, or `messages` as of a chat completion. Costs nothing."""

    model_config = ConfigDict(extra="allow", json_schema_extra=_PROMPT_OR_MESSAGES)

    prompt: StrictStr | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.prompt is None) is (self.messages is None):
            raise ValueError("exactly one of `prompt` and `messages` must be sent")
        return self


class UsageBody(_Open):
    """Tokens of the request, as the provider reports them."""

    prompt_tokens: int
    completion_tokens: int | None = None
    total_tokens: int


class Choice(_Open):
    """One answer, or one piece of one."""

    index: int
    finish_reason: str | None = None


class ChatResponse(_Open):
    """A chat completion; with `stream: true` a series of `chat.completion.chunk` events and `[DONE]`."""

    id: str
    object: Literal["chat.completion", "chat.completion.chunk"]
    created: int
    model: str = Field(description="The upstream's own name of the model that answered.")
    choices: list[Choice]
    usage: UsageBody | None = None


class CompletionResponse(_Open):
    """A text completion; with `stream: true` a series of events and `[DONE]`."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: UsageBody | None = None


class EmbeddingsResponse(_Open):
    """One vector per input."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    model: str
    usage: UsageBody | None = None


class RerankResponse(_Open):
    """The documents by falling relevance."""

    results: list[dict[str, Any]]
    usage: UsageBody | None = None


class ScoreResponse(_Open):
    """One score per pair."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    usage: UsageBody | None = None


class TokenizeResponse(_Open):
    """How many tokens, and which, where the provider tells them."""

    count: int
    max_model_len: int | None = None
    tokens: list[int] | None = None


class ErrorDetail(BaseModel):
    """What went wrong; `code` is stable (docs/errors.md)."""

    message: str
    type: str | None
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """Every error, in OpenAI's shape."""

    error: ErrorDetail


ERRORS: dict[int | str, dict[str, Any]] = {"default": {"model": ErrorResponse, "description": "Any error."}}
"""What FastAPI's routes answer beside what they document, in its notation."""
