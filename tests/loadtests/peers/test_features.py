"""What the benchmark turns on in the gateway is a configuration that the gateway takes."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from loadtests.peers import features
from loadtests.peers.base import Site
from loadtests.peers.features import Feature
from loadtests.peers.sluicegate import VARIANTS, Served, config
from tests.support.configs import problems_of


class Beside:
    """Stands for a server that runs beside the gateway."""

    url = "redis://127.0.0.1:1/0"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def made(folder: Path, *wanted: Feature) -> dict[str, Any]:
    """The configuration with these features."""
    document = config(8080, 9090, [Served("a", 1, "answer-1"), Served("b", 2, "answer-2")])
    with ExitStack() as beside:
        for feature in wanted:
            feature(document, Site(8080, 1, folder, beside))
    return document


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda one: one.name)
def test_every_variant_is_a_valid_configuration(variant: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `sluicegate check` would say; the servers that it needs are not started here."""
    monkeypatch.setattr(features, "Redis", Beside)
    monkeypatch.setattr(features, "Postgres", _postgres)
    monkeypatch.setattr(features, "_collector", _Port)
    document = made(tmp_path, *variant.features)
    assert not problems_of(json.dumps(document), environ={"SLUICEGATE_LOAD_KEY": "sk-load-0123456789"})


def _postgres() -> Beside:
    server = Beside()
    server.url = "postgresql+asyncpg://sluicegate@127.0.0.1:1/postgres"
    return server


class _Port(Beside):
    def __enter__(self) -> Any:
        return 4318


def test_everything_on_leaves_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets on four scopes, limits, a guard and a candidate on every model, traces, PostgreSQL."""
    monkeypatch.setattr(features, "Redis", Beside)
    monkeypatch.setattr(features, "Postgres", _postgres)
    monkeypatch.setattr(features, "_collector", _Port)
    document = made(tmp_path, *features.ALL)
    tenant = document["tenants"][0]
    assert document["budgets"]
    assert tenant["budgets"]
    assert tenant["keys"][0]["budgets"]
    assert all(model["budgets"] and model["guard"] and model["weight"] == 10 for model in document["models"])
    assert tenant["limits"]["requests_per_minute"]
    assert document["telemetry"]["trace_sample"] == 0.01
    assert document["stores"]["database"].startswith("postgresql")
    assert "ledger" not in document["stores"]
