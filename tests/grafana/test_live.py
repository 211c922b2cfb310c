"""Every query of every board, rule and alert gives data on a live gateway that a real Prometheus scrapes.

`make test-dashboards`. Panels that the load cannot exercise are listed in the output, not hidden.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.grafana import load
from tests.grafana.promql import PROMETHEUS, Query, board_queries, rule_queries, variables, waits
from tests.grafana.scene import Scene, concrete, played
from tests.support.prometheus import Prometheus, Sample, installed
from tests.support.upstream import ROOT

pytestmark = [pytest.mark.prometheus, pytest.mark.timeout(420)]
SECONDS = 25.0


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A gateway that has been under load."""
    with played(SECONDS) as running:
        yield running


def data(prometheus: Prometheus, query: Query) -> list[str]:
    """What is wrong with the answer to a query: empty, nothing but NaN, or without a label that its legend names."""
    found: list[Sample] = prometheus.ask(concrete(query.expr))
    numbers = [value for _, value in found if math.isfinite(value)]
    if not numbers:
        return [f"{query.place}: {'no series' if not found else 'no number'}: {query.expr}"]
    named = re.findall(r"\{\{\s*(\w+)\s*\}\}", query.legend)
    return [f"{query.place}: no {label}" for label in named if not any(labels.get(label) for labels, _ in found)]


def test_every_query_of_every_panel_gives_data(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """But for those that the load cannot exercise; they are listed, with the reason."""
    queries = board_queries()
    waiting = sorted({query.place for query in queries if waits(query)})
    with capsys.disabled():
        print(f"\n{len(queries)} queries, of which {len(waiting)} have no load:", *waiting, sep="\n  ")
    assert [problem for query in queries if not waits(query) for problem in data(scene.prometheus, query)] == []


def test_every_variable_has_values(scene: Scene) -> None:
    """At least one that is a name."""
    values = {place: scene.prometheus.label_values(metric, label) for place, metric, label in variables()}
    assert {place: found for place, found in values.items() if not set(found) - {"-", ""}} == {}
    assert set(values["sluicegate-overview / $tenant"]) == {"-", "team", "other-team", "poor-team"}


def test_every_rule_is_evaluated_and_its_selectors_exist(scene: Scene) -> None:
    """No rule has an error; recording rules give data; every metric that an alert names has series."""
    rules = scene.prometheus.rules()
    assert [rule["name"] for rule in rules if rule["health"] != "ok" or rule.get("lastError")] == []
    assert {rule["name"] for rule in rules} == {query.place for query in rule_queries()}
    built = [query for query in rule_queries() if not waits(query)]
    recorded = [Query(query.place, query.place) for query in built if ":" in query.place]
    assert [problem for query in recorded for problem in data(scene.prometheus, query)] == []
    selectors = {
        Query(query.place, selector)
        for query in built
        for selector in re.findall(r"\b(?:sluicegate[_:]|gen_ai_)[\w:]*(?:\{[^}]*\})?", query.expr)
        if "outcome=" not in selector and "result=" not in selector  # an outcome that never was has no series
    }
    assert [problem for query in selectors for problem in data(scene.prometheus, query)] == []


@pytest.mark.parametrize(
    "expr",
    [
        "sum(rate(sluicegate_requets_total[20s]))",
        'sum(rate(sluicegate_requests_total{outcome="okay"}[20s]))',
        'sum by (model) (rate(sluicegate_requests_total{modle="chat"}[20s]))',
    ],
)
def test_a_planted_typo_is_found(scene: Scene, expr: str) -> None:
    """In a metric's name, a label's value, a label's name."""
    assert len(data(scene.prometheus, Query("planted", expr))) == 1


def test_a_label_that_was_summed_away_is_found(scene: Scene) -> None:
    """The legend would be empty."""
    query = Query("planted", "sum by (model) (sluicegate_requests_total)", "{{tenant}}")
    assert data(scene.prometheus, query) == ["planted: no tenant"]


def panel(uid: str, title: str) -> str:
    """A panel's first query, counted from the beginning: rates and increases taken off its counters."""
    (query,) = [one for one in board_queries() if one.place == f"{uid} / {title} / A"]
    return re.sub(r"(?:rate|increase)\((.*?)\[[^\]]+\]\)", r"\1", concrete(query.expr))


def test_figures_are_those_of_the_load(scene: Scene) -> None:
    """One panel of each board against what the callers, the receiver, the access log and the engine counted."""
    ask, counted, figure = scene.prometheus.ask, scene.load, scene.prometheus.figure
    outcomes = {labels["outcome"]: value for labels, value in ask(panel("sluicegate-overview", "Requests by outcome"))}
    assert outcomes == counted.outcomes
    assert {"ok", "refused_auth", "refused_invalid", "refused_budget", "refused_guard", "cut_guard"} < outcomes.keys()
    arms = {
        (labels["deployment"], labels["arm"]): value
        for labels, value in ask(panel("sluicegate-rollouts", "Requests by arm"))
    }
    assert arms["llama-v2", "candidate"] == counted.served["llama-v2"]
    lines = scene.gateway.lines(counted.total)
    cost = sum(line.get("cost_usd", 0) for line in lines)
    spent = ask(panel("sluicegate-costs", "Cost per hour by tenant"))
    assert sum(value for _, value in spent) / 3600 == pytest.approx(cost, rel=1e-9)
    hits = {labels["action"]: value for labels, value in ask(panel("sluicegate-safety", "Hits by action"))}
    rounds = counted.total / (len(load.ASKED) + 1)
    assert hits == {"block": 3 * rounds, "redact": rounds, "log": rounds}
    refused = sum(counted.outcomes[outcome] for outcome in ("refused_auth", "refused_invalid"))
    assert figure(panel("sluicegate-safety", "Requests that guards could see")) == counted.total - refused
    made = {labels["deployment"]: value for labels, value in ask(_gateway_tokens())}
    engines = {"llama-v1", "llama-v2"}  # those of vLLM, which the board is about
    assert made.keys() == engines
    assert sum(made.values()) == sum(
        line.get("output_tokens", 0) for line in lines if line.get("deployment") in engines
    )
    assert figure(panel("sluicegate-gateway", "Spans exported")) == len(scene.receiver.held()["spans"])


def test_budgets_and_shadows_are_those_of_the_load(scene: Scene) -> None:
    """What budgets show as used is what the access log says was charged; copies are those that the upstream got."""
    ask, lines = scene.prometheus.ask, scene.gateway.lines(scene.load.total)

    def used(scope: str, unit: str) -> float:
        return scene.prometheus.figure(f'max(sluicegate_budget_used{{scope="{scope}", unit="{unit}", window!="hour"}})')

    for tenant in ("team", "poor-team"):
        mine = [line for line in lines if line.get("tenant") == tenant]
        tokens = sum(line.get("input_tokens", 0) + line.get("output_tokens", 0) for line in mine)
        # What workers hold in slices is settled when these end.
        scene.gateway.until(
            partial(lambda scope, all_: used(scope, "tokens") == all_, f"tenant:{tenant}", tokens), seconds=40
        )
    cost = pytest.approx(sum(line.get("cost_usd", 0) for line in lines), rel=1e-9)
    scene.gateway.until(lambda: used("everything", "money") == cost, seconds=40)
    copies = {labels["result"]: value for labels, value in ask(panel("sluicegate-rollouts", "Shadow requests"))}
    attempts = ask('sum by (deployment) (sluicegate_upstream_attempts_total{arm="shadow"})')
    assert [value for _, value in attempts] == [sum(n for what, n in copies.items() if "dropped" not in what)]
    scores = scene.prometheus.figure('sum(sluicegate_feedback_score_count{model="chat"})')
    assert scores == scene.load.scores


def _gateway_tokens() -> str:
    """The second query of the panel `Tokens made`: what went through the gateway."""
    (query,) = [one for one in board_queries() if one.place == "sluicegate-engines / Tokens made / B"]
    return re.sub(r"rate\((.*?)\[[^\]]+\]\)", r"\1", concrete(query.expr))


def test_exemplars_lead_to_traces(scene: Scene) -> None:
    """Dots on the panel, each with the id of a trace that the collector has."""
    found = scene.prometheus.exemplars("sluicegate_time_to_first_token_seconds_bucket")
    traces = {span["trace"] for span in scene.receiver.held()["spans"]}
    assert found
    assert {exemplar["labels"]["trace_id"] for exemplar in found} <= traces


def test_alerts_pass_promtool() -> None:
    """Unit tests of rules and alerts, and the configuration of Prometheus itself."""
    promtool = installed("promtool")
    for folder, *arguments in (
        (PROMETHEUS / "tests", "test", "rules", "alerts.yml"),
        (PROMETHEUS, "check", "rules", "rules.yml", "alerts.yml"),
        (PROMETHEUS, "check", "config", "prometheus.yml"),
    ):
        done = subprocess.run([promtool, *arguments], cwd=ROOT / folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_board_with_a_typo_fails_the_check(tmp_path: Path) -> None:
    """End to end: the whole check on a copy of a board in which one letter is wrong."""
    code = (
        "from tests.grafana import promql\n"
        "from pathlib import Path\n"
        f"promql.BOARDS = Path({str(tmp_path)!r})\n"
        "import sys\n"
        "sys.exit(len([p for q in promql.board_queries() for p in promql.problems(q)]))\n"
    )
    for path in Path("grafana/dashboards").glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    broken = tmp_path / "sluicegate-overview.json"
    broken.write_text(broken.read_text().replace("sluicegate_in_flight", "sluicegate_inflight"))
    assert subprocess.run(command, cwd=ROOT, check=False).returncode > 0
