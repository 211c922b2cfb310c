"""The whole file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.config.deployments import Deployment
from app.config.guarding import Guard
from app.config.models import Model
from app.config.service import Admin, Safety, Server, Stores, Telemetry
from app.config.templates import Template
from app.config.tenancy import Budget, Tenant
from app.config.types import Settings


class Config(Settings):
    """A configuration that was validated as a whole. Immutable; holds no caller's secret, only digests of them."""

    server: Server = Server()
    """The callers' listener and what it bounds."""
    stores: Stores = Stores()
    """What outlives a request."""
    telemetry: Telemetry = Telemetry()
    """What the gateway tells about itself."""
    safety: Safety = Safety()
    """How the detectors that are models are run."""
    deployments: Annotated[tuple[Deployment, ...], Field(min_length=1)]
    """The versions of models that can be called."""
    models: Annotated[tuple[Model, ...], Field(min_length=1)]
    """The names that callers use."""
    templates: tuple[Template, ...] = ()
    """What models are told before the caller's own system prompt."""
    guards: tuple[Guard, ...] = ()
    """Policies of content safety."""
    tenants: tuple[Tenant, ...] = ()
    """Who pays. Without any, and on a loopback host only, everybody is tenant `default` with key `anonymous`."""
    budgets: tuple[Budget, ...] = ()
    """What everybody together may use."""
    admin: Admin = Admin()
    """Who may operate the gateway."""
