"""Rollouts for operators: `/admin/v1/rollouts`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.ops import Operators, guarded
from app.api.schemas import ERRORS
from app.config import ConfigError, describe
from app.errors import INVALID_REQUEST, METHOD_NOT_ALLOWED, OVERLOADED, GatewayError
from app.exchange import JsonObject
from app.stores.notes import StoreUnavailable

Limit = Annotated[int, Query(ge=1, le=1000)]
Reason = Annotated[str, Field(max_length=500)]
_ACTIONS = {
    "pause": "Stop moving; the weight stays, alarms are still heeded",
    "resume": "Go on from the step where it is; after an alarm with new evidence",
    "advance": "Go to the next step now",
    "promote": "Give the candidate everything now",
    "abort": "Give stable everything now",
}


class Views(Protocol):
    """Where rollouts are looked at. Both raise ValueError, for whoever asked, and StoreUnavailable."""

    async def list(self) -> list[JsonObject]:
        """All of them."""

    async def show(self, model: str, limit: int) -> JsonObject:
        """One, with the last lines of its log."""


class Acts(Protocol):
    """Where they are changed. Both raise ValueError or ConfigError, for whoever asked, and StoreUnavailable."""

    async def start(self, who: str, model: str, asked: Mapping[str, Any], reason: str) -> JsonObject:
        """Begin one."""

    async def act(self, who: str, model: str, event: str, reason: str, hand_weight: float | None = None) -> JsonObject:
        """Do something with one that is under way: one of `_ACTIONS`, or `set_weight`."""


class Action(BaseModel):
    """Why; it stands in the log."""

    model_config = ConfigDict(extra="forbid")
    reason: Reason = ""


class Start(Action):
    """A rollout to begin. What is left out is the configuration's."""

    candidate: str | None = None
    rollout: dict[str, Any] | None = None


class SetWeight(Action):
    """A weight set by hand; the rollout pauses there."""

    weight: Annotated[float, Field(ge=0, le=100)]


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """What goes wrong, as an answer."""
    try:
        yield
    except ConfigError as error:
        raise GatewayError(INVALID_REQUEST, describe(error.problems), param="rollout") from error
    except ValueError as error:
        raise GatewayError(INVALID_REQUEST, str(error)) from error
    except StoreUnavailable as error:
        raise GatewayError(OVERLOADED, "The database does not answer. Try again shortly.", retry_after=1.0) from error


def rollout_admin(operators: Operators, views: Views, acts: Acts) -> APIRouter:
    """The routes. A change is in force in this process at once, in all others within half a second."""
    router = APIRouter(
        prefix="/admin/v1/rollouts", tags=["operators"], responses=ERRORS, route_class=guarded(operators)
    )

    @router.get("", summary="List the rollouts, under way and over")
    async def listed() -> dict[str, Any]:
        async with answering():
            return {"data": await views.list()}

    @router.get("/{model:path}", summary="Show a rollout: where it is, its evidence, its log")
    async def show(model: str, limit: Limit = 100) -> dict[str, Any]:
        if model.rpartition("/")[2] in {*_ACTIONS, "start", "set-weight"}:
            raise GatewayError(METHOD_NOT_ALLOWED, "Use POST for what changes a rollout.")
        async with answering():
            return await views.show(model, limit)

    @router.post("/{model:path}/start", summary="Begin a rollout")
    async def start(request: Request, model: str, wanted: Start) -> dict[str, Any]:
        who = operators.admin(request).name
        asked = wanted.model_dump(exclude={"reason"}, exclude_none=True)
        async with answering():
            return await acts.start(who, model, asked, wanted.reason)

    @router.post("/{model:path}/set-weight", summary="Set a weight by hand, and pause there")
    async def set_weight(request: Request, model: str, wanted: SetWeight) -> dict[str, Any]:
        who = operators.admin(request).name
        async with answering():
            return await acts.act(who, model, "set_weight", wanted.reason, wanted.weight)

    for name, summary in _ACTIONS.items():
        _add(router, operators, acts, name, summary)
    return router


def _add(router: APIRouter, operators: Operators, acts: Acts, name: str, summary: str) -> None:
    @router.post(f"/{{model:path}}/{name}", summary=summary, name=name)
    async def act(request: Request, model: str, wanted: Action) -> dict[str, Any]:
        who = operators.admin(request).name
        async with answering():
            return await acts.act(who, model, name, wanted.reason)
