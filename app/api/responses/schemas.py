"""The documented shapes of `/v1/responses`: what the gateway checks; every other field goes through untouched."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from app.api.schemas import Name


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class ResponsesRequest(_Open):
    """`POST /v1/responses`. Nothing is stored: `store`, `previous_response_id` and their like are refused."""

    model: Name
    input: Annotated[StrictStr, Field(min_length=1)] | Annotated[list[dict[str, Any]], Field(min_length=1)] = Field(
        description="A text, or items: messages, function calls and their outputs, reasoning of this gateway's."
    )
    instructions: StrictStr | None = None
    max_output_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    stream: StrictBool | None = None
    store: Literal[False] | None = None
    tools: list[dict[str, Any]] | None = Field(None, description="Functions of the caller's own.")


class ResponsesResponse(_Open):
    """A response; with `stream: true` a series of events."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "incomplete", "failed", "in_progress"]
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None
