"""What shadows answered beside what callers got, for operators: `/admin/v1/rollouts/MODEL/shadow-report`."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api.ops import Operators, guarded
from app.api.rollouts import answering
from app.api.schemas import ERRORS
from app.errors import INVALID_REQUEST, GatewayError
from app.stores.comparisons import Comparisons
from app.table import State

Hours = Annotated[float, Query(gt=0, le=30 * 24)]


def shadow_report(operators: Operators, state: State, comparisons: Comparisons) -> APIRouter:
    """The route. It comes before those of rollouts, whose models' names may hold slashes."""
    router = APIRouter(
        prefix="/admin/v1/rollouts", tags=["operators"], responses=ERRORS, route_class=guarded(operators)
    )

    @router.get("/{model:path}/shadow-report", summary="Compare a shadow's answers with those that callers got")
    async def report(model: str, hours: Hours = 24.0) -> dict[str, Any]:
        if model not in state.table.models:
            raise GatewayError(INVALID_REQUEST, f"There is no model `{model[:64]}`.", param="model")
        async with answering():
            pairs = await comparisons.report(model, time.time() - hours * 3600)
        return {"model": model, "hours": hours, "pairs": pairs}

    return router
