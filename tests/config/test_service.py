"""Server, stores, telemetry and admin: defaults and bounds."""

from __future__ import annotations

import pytest

from app.config.service import Admin, Server, Stores, Telemetry
from tests.support.configs import loaded, messages, problems


def test_defaults_are_those_of_the_contract() -> None:
    """A file without these sections gets what the complete example writes out."""
    config = loaded()
    assert config.server == Server(
        host="127.0.0.1", port=8080, workers=1, max_body_bytes=10485760, max_in_flight=1024, ops=None
    )
    assert (config.server.header_timeout, config.server.body_timeout) == (15, 60)
    assert (config.server.keep_alive, config.server.shutdown_timeout) == (75, 30)
    assert config.stores == Stores(
        database="sqlite+aiosqlite:///sluicegate.db", limits="memory", spool="./spool", spool_fsync="grouped"
    )
    assert config.telemetry == Telemetry(
        otlp_endpoint=None, trace_sample=0.01, capture_content=False, log="json", metrics_tenants=200
    )
    assert config.admin == Admin(key=None, keys=())


def test_operators_get_a_port_of_their_own() -> None:
    """An empty section is one with defaults."""
    ops = loaded({"server.ops": {}}).server.ops
    assert ops is not None
    assert (ops.host, ops.port) == ("127.0.0.1", 9090)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("server.host", "not a host", "is neither an IP address nor a host name"),
        ("server.host", "", "is neither an IP address nor a host name"),
        ("server.port", -1, "must be at least 0"),
        ("server.port", 65536, "must be at most 65535"),
        ("server.port", "8080", "must be a whole number"),
        ("server.port", True, "must be a whole number"),
        ("server.workers", 0, "must be at least 1"),
        ("server.workers", 1.5, "must be a whole number"),
        ("server.max_body_bytes", 0, "must be at least 1024"),
        ("server.max_in_flight", 0, "must be at least 1"),
        ("server.body_timeout", 0, "must be more than 0"),
        ("server.keep_alive", "forever", "must be a duration"),
        ("stores.spool_fsync", "never", "must be one of `grouped`, `always`, not `never`"),
        ("stores.spool", "", "must not be empty"),
        ("telemetry.log", "xml", "must be one of `json`, `text`, not `xml`"),
        ("telemetry.trace_sample", 1.5, "must be at most 1"),
        ("telemetry.capture_content", "yes", "must be true or false"),
        ("telemetry.metrics_tenants", 0, "must be at least 1"),
        ("telemetry.otlp_endpoint", "collector:4318", "must begin with `http://` or `https://`"),
    ],
)
def test_what_is_out_of_bounds_is_refused(path: str, value: object, message: str) -> None:
    """At its place, and nothing else is said."""
    assert messages(problems({path: value})) == [f"{path} {message}"]


def test_admin_keys() -> None:
    """A viewer has to be said, an admin has not."""
    admin = loaded(
        {
            "admin.key": "env:SLUICEGATE_ADMIN_KEY",
            "admin.keys[0]": {"name": "eve", "secret": "env:SLUICEGATE_APP_KEY", "role": "viewer"},
        }
    ).admin
    assert admin.key is not None
    assert [(key.name, key.role) for key in admin.keys] == [("eve", "viewer")]
    assert messages(
        problems({"admin.keys[0]": {"name": "eve", "secret": "env:SLUICEGATE_APP_KEY", "role": "root"}})
    ) == ["admin.keys[0].role must be one of `admin`, `viewer`, not `root`"]
