"""The boards as committed: those of the code, well typed, laid out, explained, about metrics that exist."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from app.telemetry import METRICS
from grafana.generate import files
from tests.grafana.promql import (
    PROMETHEUS,
    Query,
    board_queries,
    boards,
    panels,
    problems,
    rule_queries,
    variables,
)
from tests.house.tree import text

BOARDS = boards()
RUNBOOKS = Path("docs/runbooks.md")


def test_the_files_are_those_of_the_code() -> None:
    """`make dashboards` writes them; nobody edits them by hand or forgets them."""
    assert {path.stem for path in files()} == set(BOARDS)
    assert [path.name for path, wanted in files().items() if path.read_text() != wanted] == []


@pytest.mark.parametrize("uid", BOARDS)
def test_a_typed_round_trip_loses_nothing(uid: str) -> None:
    """Read into Grafana's own types and written again it is the same: no key is misspelt."""
    again = Dashboard.from_json(BOARDS[uid])
    assert differences(BOARDS[uid], _plain(again)) == []


def test_a_misspelt_key_is_found_by_the_round_trip() -> None:
    """The trip itself can fail."""
    board = _plain(Dashboard.from_json(next(iter(BOARDS.values()))))
    board["panels"][1]["descripton"] = board["panels"][1].pop("description")
    assert differences(board, _plain(Dashboard.from_json(board))) != []


def _plain(board: Dashboard) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(JSONEncoder(sort_keys=True).encode(board))
    return found


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two documents differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(one.keys() | other.keys())
        return [found for key in keys for found in differences(one.get(key), other.get(key), f"{place}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            found
            for at, pair in enumerate(zip(one, other, strict=True))
            for found in differences(*pair, f"{place}[{at}]")
        ]
    return [] if one == other else [place]


@pytest.mark.parametrize("uid", BOARDS)
def test_panels_have_their_place(uid: str) -> None:
    """On the grid, none over another, each with an id and a title of its own."""
    places = [(panel["title"], panel["gridPos"]) for panel in BOARDS[uid]["panels"]]
    assert all(at["x"] + at["w"] <= 24 for _, at in places)
    for (_, one), (_, other) in combinations(places, 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    for name in ("id", "title"):
        values = [panel[name] for panel in panels(BOARDS[uid])]
        assert len(values) == len(set(values))


@pytest.mark.parametrize("uid", BOARDS)
def test_panels_are_explained(uid: str) -> None:
    """What is shown and what to do: two sentences at least; and a unit."""
    for panel in panels(BOARDS[uid]):
        assert len(re.findall(r"[.;:] ", panel["description"] + " ")) >= 2, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


@pytest.mark.parametrize("query", [*board_queries(), *rule_queries()], ids=lambda query: query.place)
def test_queries_name_what_exists(query: Query) -> None:
    """Metrics that are declared, labels that they have, legends that are not summed away; no value by default."""
    assert problems(query) == []
    assert "vector(" not in query.expr


def test_every_metric_is_shown_somewhere() -> None:
    """On a board or in an alert: what nobody looks at need not be counted."""
    queries = [*board_queries(), *rule_queries()]
    assert [metric.name for metric in METRICS if not any(metric.name in query.expr for query in queries)] == []


def test_variables_name_what_exists() -> None:
    """Metric and label."""
    queries = [Query(place, f"sum by ({label}) ({metric})") for place, metric, label in variables()]
    assert queries
    assert [found for query in queries for found in problems(query)] == []


@pytest.mark.parametrize(
    ("expr", "legend", "problem"),
    [
        ("sluicegate_requets_total", "", "no metric sluicegate_requets_total"),
        ('sluicegate_requests_total{modle="x"}', "", "sluicegate_requests_total has no label modle"),
        ("sum by (modle) (sluicegate_requests_total)", "", "nothing has the label modle"),
        ("sum by (model) (sluicegate_requests_total)", "{{tenant}}", "tenant is summed away"),
        ("sluicegate_request_duration_seconds", "", "no metric sluicegate_request_duration_seconds"),
        ('gen_ai_client_token_usage_sum{x="y"}', "", "gen_ai_client_token_usage_sum has no label x"),
    ],
)  # fmt: skip
def test_typos_are_found(expr: str, legend: str, problem: str) -> None:
    """In names, selectors, groupings and legends."""
    assert problems(Query("here", expr, legend)) == [f"here: {problem}"]


def test_every_alert_has_its_runbook_and_its_tests() -> None:
    """One section each, to which the annotation leads; one case that fires and one that is quiet."""
    alerts = [
        rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
    ]
    names = [rule["alert"] for rule in alerts]
    assert re.findall(r"^## (Sluicegate\w+)$", text(RUNBOOKS), re.MULTILINE) == names
    assert [rule["annotations"]["runbook"] for rule in alerts] == [f"docs/runbooks.md#{name.lower()}" for name in names]
    cases = {case["name"] for case in yaml.safe_load((PROMETHEUS / "tests" / "alerts.yml").read_text())["tests"]}
    assert {f"{name} {how}" for name in names for how in ("fires", "is quiet")} <= cases
    assert {rule["labels"]["severity"] for rule in alerts} == {"page", "ticket"}
