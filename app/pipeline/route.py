"""Stage 4: where does the request go? A pure function of request, principal and routing table."""

from __future__ import annotations

from app.errors import MODEL_NOT_ALLOWED, MODEL_NOT_FOUND, GatewayError
from app.exchange import Arm, Call, Principal
from app.pipeline.plan import Plan
from app.table import Table


def route(call: Call, principal: Principal, table: Table) -> Plan:
    """The plan for a call. Raises `GatewayError` `model_not_found` or `model_not_allowed`."""
    model = table.models.get(call.model)
    if model is None:
        message = f"The model `{call.model[:64]}` does not exist here. `GET /v1/models` lists those that do."
        raise GatewayError(MODEL_NOT_FOUND, message, param="model")
    if principal.models is not None and call.model not in principal.models:
        raise GatewayError(MODEL_NOT_ALLOWED, f"This key may not use the model `{call.model}`.", param="model")
    if not model.fallbacks:
        return Plan(((Arm.STABLE, model.stable),))
    return Plan(((Arm.STABLE, model.stable), *((Arm.FALLBACK, deployment) for deployment in model.fallbacks)))
