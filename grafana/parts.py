"""What boards are made of, as plain values, and how Grafana's own types are built from them.

A board is data: rows of panels, each with queries and with a description that says what to do when it looks bad.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Literal, NamedTuple

from grafana_foundation_sdk.builders import bargauge, common, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import prometheus as prometheus_queries
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

TAG = "sluicegate"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
SCREEN = 24
"""Columns of Grafana's grid."""


class Query(NamedTuple):
    """PromQL, and how its series are called."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """One panel. `unit` is Grafana's word for it. `exemplars` shows traced requests as dots that lead to their traces."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Literal["graph", "stat", "names", "bars", "table"] = "graph"
    width: int = 8
    height: int = 8
    stacked: bool = False
    exemplars: bool = False
    most: float | None = None
    """The top of the axis, where values have one."""
    bad: float | None = None
    """From here on the value is shown in red."""


class Row(NamedTuple):
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


class Variable(NamedTuple):
    """A choice at the top of the board: the values of a label of a metric."""

    name: str
    metric: str
    label: str
    title: str


class Board(NamedTuple):
    """One dashboard."""

    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]


MODEL = Variable("model", "sluicegate_requests_total", "model", "Model")
TENANT = Variable("tenant", "sluicegate_requests_total", "tenant", "Tenant")
DEPLOYMENT = Variable("deployment", "sluicegate_requests_total", "deployment", "Deployment")


def quantiles(metric: str, selector: str, by: str = "") -> tuple[Query, ...]:
    """p50, p95 and p99 of a histogram, over all series or by a label."""
    group = f"le, {by}" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    inner = f"sum by ({group}) (rate({metric}_bucket{{{selector}}}[$__rate_interval]))"
    return tuple(Query(f"histogram_quantile({q / 100}, {inner})", f"p{q}{legend}") for q in (50, 95, 99))


def build(board: Board) -> models.Dashboard:
    """Grafana's form of a board."""
    made = (
        dashboards.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            dashboards.DashboardLink("Sluicegate")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)  # noqa: FBT003 - the builder's own way
            .include_vars(True)  # noqa: FBT003 - as above
            .keep_time(True)  # noqa: FBT003 - as above
        )
        .with_variable(dashboards.DatasourceVariable("datasource").type("prometheus").label("Data source"))
    )
    for variable in board.variables:
        made = made.with_variable(_variable(variable))
    y = 0
    ids = count(1)
    for row in board.rows:
        place = models.GridPos(h=1, w=SCREEN, x=0, y=y)
        made = made.with_row(dashboards.Row(row.title).id(next(ids)).grid_pos(place))
        y += 1
        x = tallest = 0
        for panel in row.panels:
            if x + panel.width > SCREEN:
                x, y, tallest = 0, y + tallest, 0
            place = models.GridPos(h=panel.height, w=panel.width, x=x, y=y)
            made = made.with_panel(_panel(panel).id(next(ids)).grid_pos(place))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return made.build()


def _variable(variable: Variable) -> dashboards.QueryVariable:
    query = f"label_values({variable.metric}, {variable.label})"
    return (
        dashboards.QueryVariable(variable.name)
        .label(variable.title)
        .datasource(SOURCE)
        .query({"query": query, "refId": "variable"})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)  # noqa: FBT003 - the builder's own way
        .include_all(True)  # noqa: FBT003 - as above
        .all_value(".*")
        .current(models.VariableOption(selected=True, text="All", value="$__all"))
    )


Builder = timeseries.Panel | stat.Panel | bargauge.Panel | table.Panel


def _panel(panel: Panel) -> Builder:
    made = _KINDS[panel.kind](panel)
    made = made.title(panel.title).description(panel.description).unit(panel.unit).datasource(SOURCE).min(0)
    if panel.most is not None:
        made = made.max(panel.most)
    made = made.thresholds(_thresholds(panel.bad))
    for number, query in enumerate(panel.queries):
        target = prometheus_queries.Dataquery().expr(query.expr).legend_format(query.legend).ref_id("ABCDEFGH"[number])
        over_time = panel.kind == "graph"
        target = target.range().exemplar(panel.exemplars) if over_time else target.instant()
        if panel.kind == "table":
            target = target.format(PromQueryFormat.TABLE)
        made = made.with_target(target)
    return made


def _thresholds(bad: float | None) -> dashboards.ThresholdsConfig:
    steps = [models.Threshold(value=None, color="green")]
    if bad is not None:
        steps.append(models.Threshold(value=bad, color="red"))
    return dashboards.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _graph(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().fill_opacity(20 if panel.stacked else 5).line_width(1)
    made = made.show_points(common_models.VisibilityMode.NEVER)
    if panel.stacked:
        made = made.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))
    if panel.bad is not None:
        style = common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED)
        made = made.thresholds_style(style)
    legend = common.VizLegendOptions().display_mode(common_models.LegendDisplayMode.LIST)
    return made.legend(legend.placement(common_models.LegendPlacement.BOTTOM).show_legend(True))  # noqa: FBT003 - its way


def _stat(_: Panel) -> stat.Panel:
    return stat.Panel().graph_mode(common_models.BigValueGraphMode.NONE)


def _names(panel: Panel) -> stat.Panel:
    return _stat(panel).text_mode(common_models.BigValueTextMode.NAME)


def _bars(_: Panel) -> bargauge.Panel:
    return bargauge.Panel().orientation(common_models.VizOrientation.HORIZONTAL)


def _table(_: Panel) -> table.Panel:
    """Labels and the value; when it was asked is in nobody's interest."""
    options = {"excludeByName": {"Time": True}, "renameByName": {"Value": "value"}}
    return (
        table.Panel()
        .min_width(80)
        .with_transformation(models.DataTransformerConfig(id_val="organize", options=options))
    )


_KINDS: dict[str, Callable[[Panel], Builder]] = {
    "graph": _graph,
    "stat": _stat,
    "names": _names,
    "bars": _bars,
    "table": _table,
}
