"""What must hold across the whole file: names and secrets used once, a process that its settings can carry.

The checks run over the parts of a file that are right in themselves, so that one mistake does not hide another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.config import extras, rules
from app.config.addresses import is_loopback
from app.config.deployments import Deployment
from app.config.guarding import Guard
from app.config.models import Model
from app.config.problems import Loc, show
from app.config.rules import Finding, Names
from app.config.secret import KeySecret, Secret
from app.config.service import Admin, Safety, Server, Stores
from app.config.templates import Template
from app.config.tenancy import Budget, Tenant


@dataclass(frozen=True, slots=True)
class Draft:
    """The valid parts of a file: elements of lists by their index, None for a section that is not valid.

    `names` holds every name that stands in the file, by section, with None where one is missing or no text.
    """

    server: Server | None
    stores: Stores | None
    admin: Admin | None
    safety: Safety | None
    budgets: tuple[Budget, ...] | None
    deployments: Mapping[int, Deployment]
    models: Mapping[int, Model]
    templates: Mapping[int, Template]
    guards: Mapping[int, Guard]
    tenants: Mapping[int, Tenant]
    names: Mapping[str, tuple[str | None, ...]]


def check(draft: Draft) -> Iterator[Finding]:
    """Everything that does not fit together."""
    names: Names = {section: [name for name in all_ if name is not None] for section, all_ in draft.names.items()}
    for section, all_ in draft.names.items():
        yield from rules.once(((section, index, "name"), name) for index, name in enumerate(all_) if name is not None)
    for index, deployment in draft.deployments.items():
        yield from rules.deployment(("deployments", index), deployment, names)
    for index, model in draft.models.items():
        yield from rules.model(("models", index), model, names)
    for index, template in draft.templates.items():
        yield from rules.template(("templates", index), template)
    for index, guard in draft.guards.items():
        yield from rules.guard(("guards", index), guard, names)
    for index, tenant in draft.tenants.items():
        yield from rules.tenant(("tenants", index), tenant, names)
    yield from rules.budgets(("budgets",), draft.budgets or ())
    yield from _whole(draft)


def _whole(draft: Draft) -> Iterator[Finding]:
    yield from _secrets(draft)
    if draft.admin is not None:
        yield from _admin(draft.admin)
    if draft.safety is not None:
        yield from extras.models(draft.guards, draft.safety)
        yield from extras.services(draft.guards, draft.safety)
        yield from extras.judge(draft.safety, draft.models, [name for name in draft.names["models"] if name])
    if draft.stores is not None and not draft.stores.ledger and _has_budgets(draft):
        yield (
            ("stores", "ledger"),
            "is off, and what was used of budgets stands in it",
            "Turn it on, or remove `budgets`.",
        )
    if draft.server is not None:
        yield from _listeners(draft.server)
        yield from _strangers(draft.server, draft)
        if draft.stores is not None and draft.server.workers > 1:
            yield from _workers(draft.stores, draft)
    if draft.safety is not None:
        yield from extras.shadows(draft.models, draft.safety)


def _secrets(draft: Draft) -> Iterator[Finding]:
    seen: dict[bytes, Loc] = {}
    for loc, secret in _credentials(draft):
        if secret.digest in seen:
            yield (
                loc,
                f"is the same secret as {show(seen[secret.digest])}",
                "Every key needs a secret of its own: it tells who calls.",
            )
        seen.setdefault(secret.digest, loc)


def _credentials(draft: Draft) -> Iterator[tuple[Loc, KeySecret]]:
    for index, tenant in draft.tenants.items():
        for position, key in enumerate(tenant.keys):
            yield ("tenants", index, "keys", position, "secret"), key.secret
    if draft.admin is not None and draft.admin.key is not None:
        yield ("admin", "key"), draft.admin.key
    for position, admin_key in enumerate(draft.admin.keys if draft.admin is not None else ()):
        yield ("admin", "keys", position, "secret"), admin_key.secret


def _admin(admin: Admin) -> Iterator[Finding]:
    yield from rules.once((("admin", "keys", index, "name"), key.name) for index, key in enumerate(admin.keys))
    if admin.key is not None and any(key.name == "admin" for key in admin.keys):
        yield ("admin", "key"), "is the key `admin`, which stands in `admin.keys` too", "Keep one of them."


def _listeners(server: Server) -> Iterator[Finding]:
    if server.ops is not None and server.ops.port == server.port != 0:
        yield (
            ("server", "ops", "port"),
            "is the port of callers too",
            "Give operators a port of their own, or remove `ops`.",
        )


def _strangers(server: Server, draft: Draft) -> Iterator[Finding]:
    """Who can reach the gateway without a credential, and what that would show."""
    if is_loopback(server.host):
        return
    if not draft.names["tenants"]:
        yield (
            ("tenants",),
            f"is required, because `server.host` ({server.host}) can be reached from other machines",
            "Write a tenant with a key, or listen on 127.0.0.1.",
        )
    if server.ops is None and draft.admin is not None and not (draft.admin.key or draft.admin.keys):
        text = f"needs a key: without `server.ops`, `/metrics` is served on {server.host}, to admin keys only"
        yield (
            ("admin",),
            text,
            "Write `admin: {key: env:NAME}`, or give operators `server.ops: {host: 127.0.0.1, port: 9090}`.",
        )


def _workers(stores: Stores, draft: Draft) -> Iterator[Finding]:
    if not isinstance(stores.database, Secret) and stores.database.startswith("sqlite"):
        yield (
            ("stores", "database"),
            "is SQLite, which one worker only can use",
            "Use `postgresql+asyncpg://USER@HOST/NAME`, or `workers: 1`.",
        )
    if stores.limits == "memory" and _is_limited(draft):
        yield (
            ("stores", "limits"),
            "is `memory`, which workers do not share",
            "Use `redis://HOST:PORT/0`, or `workers: 1`.",
        )


def _is_limited(draft: Draft) -> bool:
    return _has_budgets(draft) or any(tenant_is_limited(tenant) for tenant in draft.tenants.values())


def _has_budgets(draft: Draft) -> bool:
    return (
        bool(draft.budgets)
        or any(model.budgets or model.shadow for model in draft.models.values())
        or any(tenant_has_budgets(tenant) for tenant in draft.tenants.values())
    )


def tenant_has_budgets(tenant: Tenant) -> bool:
    """Whether it has a budget, or one of its keys has."""
    return bool(tenant.budgets or any(key.budgets for key in tenant.keys))


def tenant_is_limited(tenant: Tenant) -> bool:
    """Whether it has a budget or a limit, or one of its keys has."""
    limits = tenant.limits.model_dump(exclude_none=True)
    return bool(limits) or tenant_has_budgets(tenant)
