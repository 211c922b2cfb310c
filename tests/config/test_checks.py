"""What must hold across the whole file, also where parts of it are wrong."""

from __future__ import annotations

import pytest

from tests.support.configs import REMOVED, loaded, messages, problems

OPEN = {"server.host": "0.0.0.0"}
ADMIN = {"admin.key": "env:SLUICEGATE_ADMIN_KEY"}
SHADOW = {"to": "two", "sample": 0.1, "budget": {"window": "day", "usd": 1}}


@pytest.mark.parametrize("section", ["deployments", "models", "tenants", "guards"])
def test_names_are_used_once_in_a_section(section: str) -> None:
    """The second one is to blame; the same name in another section is no matter."""
    twins: dict[str, dict[str, object]] = {
        "deployments": {"deployments[1].name": "one"},
        "models": {"models[1]": {"name": "chat", "stable": "two"}},
        "tenants": {"tenants[1]": {"name": "team"}},
        "guards": {"guards": [{"name": "g", "prompt": {"detectors": ["pii"]}}] * 2},
    }
    (problem,) = problems(twins[section])
    assert (problem.path, problem.message[-13:]) == (f"{section}[1].name", "is used twice")
    assert problems({"models[0].name": "one", "tenants[0].name": "one"}) == []


def test_two_keys_never_share_a_secret() -> None:
    """Neither two tenants' nor a caller's and an operator's, by whatever references."""
    environ = {"SLUICEGATE_CI_KEY": "same", "COPY": "same", "OPENAI_API_KEY": "x"}
    other = {"tenants[1]": {"name": "b", "keys": [{"name": "k", "secret": "env:COPY"}]}}
    everywhere = {**other, "admin.key": "env:COPY", "admin.keys": [{"name": "k", "secret": "env:COPY"}]}
    assert messages(problems(everywhere, environ=environ)) == [
        f"{path} is the same secret as tenants[0].keys[0].secret"
        for path in ("admin.key", "admin.keys[0].secret", "tenants[1].keys[0].secret")
    ]
    assert "same" not in str([problem.hint for problem in problems(other, environ=environ)]).replace("own", "")


def test_a_caller_and_an_upstream_may_share_a_secret() -> None:
    """One comes in, the other goes out."""
    assert problems({"deployments[0].api_key": "env:SLUICEGATE_CI_KEY"}) == []


def test_admin_keys_have_names_of_their_own() -> None:
    """The short notation is the key `admin`."""
    key = {"name": "admin", "secret": "env:SLUICEGATE_APP_KEY"}
    assert messages(problems({**ADMIN, "admin.keys": [key]})) == [
        "admin.key is the key `admin`, which stands in `admin.keys` too"
    ]
    twins = [{"name": "a", "secret": "env:SLUICEGATE_APP_KEY"}, {"name": "a", "secret": "env:SLUICEGATE_ADMIN_KEY"}]
    assert messages(problems({"admin.keys": twins})) == ["admin.keys[1].name `a` is used twice"]


@pytest.mark.parametrize(
    "budgeted",
    [
        {"budgets": [{"window": "day", "tokens": 1}]},
        {"models[0].budgets": [{"window": "day", "tokens": 1}]},
        {"models[0].shadow": SHADOW},
        {"tenants[0].budgets": [{"window": "day", "tokens": 1}]},
        {"tenants[0].keys[0].budgets": [{"window": "day", "tokens": 1}]},
    ],
)
def test_budgets_need_a_ledger(budgeted: dict[str, object]) -> None:
    """It is what they are counted from after a restart."""
    assert problems(budgeted) == []
    assert messages(problems({**budgeted, "stores.ledger": False})) == [
        "stores.ledger is off, and what was used of budgets stands in it"
    ]
    assert problems({"stores.ledger": False, "tenants[0].limits": {"requests_per_minute": 5}}) == []


def test_operators_listen_on_another_port() -> None:
    """Unless both take a free one."""
    assert messages(problems({"server.port": 9090, "server.ops": {}})) == ["server.ops.port is the port of callers too"]
    assert problems({"server.port": 0, "server.ops": {"port": 0}}) == []


@pytest.mark.parametrize("written", [REMOVED, []])
def test_without_tenants_only_a_loopback_host_is_served(written: object) -> None:
    """Elsewhere everybody could spend."""
    assert loaded({"tenants": written}).tenants == ()
    assert loaded({"tenants": written, "server.host": "::1"}).tenants == ()
    found = problems({"tenants": written, **OPEN, **ADMIN})
    assert messages(found) == [
        "tenants is required, because `server.host` (0.0.0.0) can be reached from other machines"
    ]


def test_metrics_that_others_can_reach_need_an_operators_key() -> None:
    """Or a port of their own."""
    (problem,) = problems(OPEN)
    assert problem.path == "admin"
    assert "`/metrics` is served on 0.0.0.0" in problem.message
    assert problems({**OPEN, **ADMIN}) == []
    assert problems({**OPEN, "server.ops": {}}) == []


def test_sqlite_serves_one_worker() -> None:
    """Whether it is asked for or the default."""
    refused = ["stores.database is SQLite, which one worker only can use"]
    assert messages(problems({"server.workers": 2})) == refused
    assert problems({"stores.database": "sqlite+aiosqlite:///x.db"}) == []
    assert messages(problems({"server.workers": 2, "stores.database": "sqlite+aiosqlite:///x.db"})) == refused
    assert problems({"server.workers": 2, "stores.database": "env:DATABASE_URL"}) == []


@pytest.mark.parametrize(
    "limited",
    [
        {"budgets": [{"window": "day", "usd": 1}]},
        {"tenants[0].budgets": [{"window": "day", "usd": 1}]},
        {"tenants[0].keys[0].budgets": [{"window": "day", "usd": 1}]},
        {"tenants[0].limits.concurrent": 5},
        {"models[0].budgets": [{"window": "day", "usd": 1}]},
        {"models[0].shadow": SHADOW},
    ],
)
def test_limits_in_memory_serve_one_worker(limited: dict[str, object]) -> None:
    """Once anything is limited: each worker would count for itself."""
    assert problems(limited) == []
    several = {"server.workers": 2, "stores.database": "env:DATABASE_URL"}
    assert messages(problems({**limited, **several})) == ["stores.limits is `memory`, which workers do not share"]
    assert problems({**limited, **several, "stores.limits": "redis://127.0.0.1/0"}) == []


def test_one_mistake_does_not_hide_another() -> None:
    """What is right in itself is checked although its neighbours are wrong, at its own place in the file."""
    changes: dict[str, object] = {
        "deployments[0].price": None,
        "deployments[1].max_output_tokens": 9000,
        "models[0].name": 5,
        "models[1]": {"name": "second", "stable": "one", "fallbacks": ["nowhere"]},
        "tenants[0].keys[0].models": ["third"],
        "server.prot": 1,
    }
    assert messages(problems(changes)) == [
        "deployments[0].price must be a section with names and values",
        "deployments[1].max_output_tokens is more than `context_window` (8192)",
        "models[0].name must be a name",
        "models[1].fallbacks[0] names the deployment `nowhere`, which does not exist",
        "server.prot is not a setting",
        "tenants[0].keys[0].models[0] names the model `third`, which does not exist",
    ]
