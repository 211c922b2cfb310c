"""Reads just enough of PromQL to say which metrics and labels a query names, without a Prometheus."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import yaml

from app.telemetry import METRICS, Kind

PROMETHEUS = Path("deploy/prometheus")
BOARDS = Path("grafana/dashboards")

UNLOADED: dict[str, str] = {
    "sluicegate_shadow_meaning": "embeddings need the encoders of `make setup-safety`",
}
"""What the load of `make test-dashboards` cannot exercise, and why; panels are listed there."""

_NAME = re.compile(r"\b((?:sluicegate[_:]|gen_ai_)[\w:]*)\s*(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_BY = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")


class Query(NamedTuple):
    """A query and where it stands. `legend` names labels in double braces."""

    place: str
    expr: str
    legend: str = ""


def declared() -> dict[str, tuple[str, ...]]:
    """Labels by the name under which Prometheus stores a series of the code's metrics."""
    found: dict[str, tuple[str, ...]] = {}
    for metric in METRICS:
        if metric.kind is Kind.HISTOGRAM:
            found |= {metric.name + "_sum": metric.labels, metric.name + "_count": metric.labels}
            found[metric.name + "_bucket"] = (*metric.labels, "le")
        else:
            found[metric.name] = metric.labels
    return found


def recorded() -> dict[str, tuple[str, ...]]:
    """Recording rules, which all keep `model` alone."""
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return {rule["record"]: ("model",) for group in groups for rule in group["rules"]}


def metrics_of(expr: str) -> set[str]:
    """The metrics that a query names."""
    return {match[1] for match in _NAME.finditer(_BY.sub("", expr))}


def problems(query: Query) -> list[str]:
    """Names that nobody declares, and labels that none of the query's metrics has."""
    known = {**declared(), **recorded()}
    found = []
    labels: set[str] = set()
    for match in _NAME.finditer(_BY.sub("", query.expr)):
        if match[1] not in known:
            found.append(f"{query.place}: no metric {match[1]}")
            continue
        labels |= set(known[match[1]])
        wrong = set(_LABEL.findall(match[2] or "")) - set(known[match[1]])
        found += [f"{query.place}: {match[1]} has no label {label}" for label in sorted(wrong)]
    grouped = {label.strip() for group in _BY.findall(query.expr) for label in group.split(",") if label.strip()}
    named = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", query.legend))
    found += [f"{query.place}: nothing has the label {label}" for label in sorted((grouped | named) - labels)]
    if _BY.search(query.expr):
        found += [f"{query.place}: {label} is summed away" for label in sorted(named - grouped)]
    return found


def waits(query: Query) -> bool:
    """Whether the live load has no data for it yet."""
    return any(part in query.expr for part in UNLOADED)


def boards() -> dict[str, dict[str, Any]]:
    """The committed dashboards by uid."""
    return {path.stem: orjson.loads(path.read_bytes()) for path in sorted(BOARDS.glob("*.json"))}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Its panels, rows left out."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def board_queries() -> list[Query]:
    """Every query of every panel and every variable."""
    return [
        Query(f"{uid} / {panel['title']} / {target['refId']}", target["expr"], target["legendFormat"])
        for uid, board in boards().items()
        for panel in panels(board)
        for target in panel["targets"]
    ]


def variables() -> list[tuple[str, str, str]]:
    """Place, metric and label of every variable that asks Prometheus."""
    found = []
    for uid, board in boards().items():
        for one in board["templating"]["list"]:
            if one["type"] == "query":
                match = re.fullmatch(r"label_values\((\w+), (\w+)\)", one["query"]["query"])
                assert match, one
                found.append((f"{uid} / ${one['name']}", match[1], match[2]))
    return found


def rule_queries() -> list[Query]:
    """Every recording rule and alert."""
    return [
        Query(rule.get("record") or rule["alert"], rule["expr"])
        for name in ("rules.yml", "alerts.yml")
        for group in yaml.safe_load((PROMETHEUS / name).read_text())["groups"]
        for rule in group["rules"]
    ]
