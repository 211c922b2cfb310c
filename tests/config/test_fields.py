"""Walking the models: which settings there are, where they stand, when they change."""

from __future__ import annotations

from app.config.fields import at, change, names, restart_only, section, walk
from app.config.schema import Config
from app.config.service import Ops, Server
from app.config.types import Change


def test_every_setting_is_walked_once() -> None:
    """Lists with `[]`, sections with a dot."""
    paths = [path for path, _ in walk()]
    assert len(paths) == len(set(paths)) > 100
    assert {"server.ops.port", "deployments[].price.input", "tenants[].keys[].budgets[].usd"} <= set(paths)


def test_sections_are_found_inside_annotations() -> None:
    """Optional ones and lists of them; plain values have none."""
    assert section(Server.model_fields["ops"].annotation) is Ops
    assert section(Config.model_fields["server"].annotation) is Server
    assert section(Server.model_fields["port"].annotation) is None
    assert section(tuple[Server, ...]) is Server


def test_a_field_is_found_at_a_location() -> None:
    """Whatever the index; nothing where there is nothing."""
    price = at(("deployments", 7, "price", "input"))
    assert price is not None
    assert price.description == "Prompt tokens."
    assert at(("deployments", 7, "prices")) is None
    assert at(("server", "port", "deeper")) is None


def test_names_of_a_section() -> None:
    """The file itself is a section; a plain value is none."""
    assert names(()) == list(Config.model_fields)
    assert names(("server", "ops")) == ["host", "port"]
    assert names(("server", "port")) == []


def test_what_only_a_restart_changes() -> None:
    """Sockets, processes, stores; not what requests read from the table."""
    fixed = set(restart_only())
    assert {"server.host", "server.port", "server.workers", "server.ops", "stores.database"} <= fixed
    assert not fixed & {"server.max_body_bytes", "server.max_in_flight", "server.body_timeout"}
    assert not [path for path in fixed if "[]" in path]
    assert change(Server.model_fields["port"]) is Change.RESTART
    assert change(Server.model_fields["body_timeout"]) is Change.RELOAD
