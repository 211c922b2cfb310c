"""The documented shapes of `/v1/messages`: what the gateway checks; every other field goes through untouched."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from app.api.schemas import Name


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Block(_Open):
    """Of a user: `text`, `image`, `document`, `tool_result`; of an assistant: `text`, `thinking`, `tool_use`."""

    type: StrictStr


class Turn(_Open):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: Annotated[StrictStr, Field(min_length=1)] | Annotated[list[Block], Field(min_length=1)]


class CountRequest(_Open):
    """`POST /v1/messages/count_tokens`."""

    model: Name
    messages: Annotated[list[Turn], Field(min_length=1)]
    system: StrictStr | list[Block] | None = None
    tools: list[dict[str, Any]] | None = Field(None, description="Tools of the caller's own.")
    tool_choice: dict[str, Any] | None = None


class MessagesRequest(CountRequest):
    """`POST /v1/messages`: images, documents, thinking, tools and `output_config` are translated."""

    max_tokens: Annotated[StrictInt, Field(ge=1)]
    stream: StrictBool | None = None
    stop_sequences: list[StrictStr] | None = None


class MessagesUsage(_Open):
    """Tokens; `input_tokens` leaves out those read from or written to a cache."""

    input_tokens: int
    output_tokens: int


class MessagesResponse(_Open):
    """A message; with `stream: true` a series of events."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str | None
    content: list[Block]
    stop_reason: str | None
    stop_sequence: str | None
    usage: MessagesUsage


class CountResponse(BaseModel):
    """The prompt's tokens."""

    input_tokens: int


class MessagesErrorDetail(_Open):
    """What went wrong: Anthropic's `type`, our stable `code`."""

    type: str
    message: str
    code: str


class MessagesError(BaseModel):
    """An error in Anthropic's shape."""

    type: Literal["error"]
    error: MessagesErrorDetail
    request_id: str
