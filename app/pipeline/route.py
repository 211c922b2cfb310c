"""Stage 4: where does the request go? A pure function of request, principal, routing table and one random number."""

from __future__ import annotations

from app.errors import INVALID_REQUEST, MODEL_NOT_ALLOWED, MODEL_NOT_FOUND, PERMISSION_DENIED, GatewayError
from app.exchange import NO_WISHES, Arm, Call, Principal, Wishes, made
from app.pipeline.assign import arm_at, place
from app.pipeline.plan import Plan
from app.table import Model, Shadow, Split, Table

_LOWER_DIGITS = 2.0**26
"""A random number has 53 digits: the first 26 draw the arm, as finely as anybody can tell."""


def route(call: Call, principal: Principal, table: Table, wishes: Wishes = NO_WISHES, chance: float = 0.0) -> Plan:
    """The plan for a call. `chance` is a random number in [0, 1), for requests that belong to nobody.

    Raises `GatewayError` `model_not_found`, `model_not_allowed`, or, where `x-sluicegate-pin` is sent,
    `permission_denied` for a key that may not pin and `invalid_request` for a deployment that the model does not have.
    """
    model = table.models.get(call.model)
    if model is None:
        message = f"The model `{call.model[:64]}` does not exist here. `GET /v1/models` lists those that do."
        raise GatewayError(MODEL_NOT_FOUND, message, param="model")
    if principal.models is not None and call.model not in principal.models:
        raise GatewayError(MODEL_NOT_ALLOWED, f"This key may not use the model `{call.model}`.", param="model")
    if wishes.pin:
        return _pinned(wishes.pin, model, principal)
    plan = _assigned(call, principal, model, wishes, chance)
    shadow = model.shadow
    if shadow is not None and _copied(call, principal, shadow, plan, chance):
        return plan._replace(shadow=shadow)
    return plan


def _assigned(call: Call, principal: Principal, model: Model, wishes: Wishes, chance: float) -> Plan:
    split = model.split
    if split is None or not split.weight or call.operation not in split.operations:
        return made(Plan, (model.choices, None, None, None))
    unit = _unit(call, principal, split, wishes)
    at = None if unit is None else place(split.salt, unit)
    arm = arm_at(split.weight, chance if at is None else at)
    return made(Plan, (split.choices if arm is Arm.CANDIDATE else model.choices, split, at, None))


def _copied(call: Call, principal: Principal, shadow: Shadow, plan: Plan, chance: float) -> bool:
    """Whether the request is drawn for a copy: by the digits of the random number that draw no arm."""
    if not principal.shadow or call.operation not in shadow.operations or plan.choices[0][1] is shadow.deployment:
        return False
    return chance * _LOWER_DIGITS % 1.0 < shadow.sample


def _unit(call: Call, principal: Principal, split: Split, wishes: Wishes) -> str | None:
    """Who keeps to one arm. Tenants are told apart: their users' names have nothing to do with each other."""
    if split.sticky == "user":
        body = call.body
        name = wishes.affinity or body.get("safety_identifier") or body.get("user")
        return f"{principal.tenant}\0{name}" if type(name) is str else None
    return f"{principal.tenant}\0{principal.key}" if split.sticky == "key" else None


def _pinned(wanted: str, model: Model, principal: Principal) -> Plan:
    """The deployment that the caller chose, and no other: whoever asks for one wants to see it, failures included."""
    if not principal.pin:
        message = "This key may not choose a deployment. Leave `x-sluicegate-pin` out, or have the key allowed to pin."
        raise GatewayError(PERMISSION_DENIED, message, param="x-sluicegate-pin")
    found = model.pins.get(wanted)
    if found is None:
        message = f"The model `{model.name}` has no deployment `{wanted[:64]}`."
        raise GatewayError(INVALID_REQUEST, message, param="x-sluicegate-pin")
    return Plan((found,))
