"""`sluicegate rollout show|start|…`: the commands that ask a running gateway, through its admin API."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import httpx2
import orjson

from app.config import ConfigError, describe, read_rollout
from app.exchange import JsonObject

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_model = click.argument("model")
_reason = click.option("--reason", default="", help="Why; it stands in the log.")
_url = click.option(
    "--url", envvar="SLUICEGATE_ADMIN_URL", default="http://127.0.0.1:9090", show_default=True,
    help="The operators' listener; also SLUICEGATE_ADMIN_URL. The admin key is read from SLUICEGATE_ADMIN_KEY.",
)  # fmt: skip
_json = click.option("--json", "as_document", is_flag=True, help="Print a JSON object.")
_TIMEOUT_S = 30.0


@click.command()
@click.argument("model", required=False)
@_url
@_json
def show(model: str | None, url: str, *, as_document: bool) -> None:
    """Show where the rollout of MODEL is, its evidence and its log; without MODEL list all rollouts."""
    found = _call(url, "GET", f"/{model}" if model else "")
    if as_document:
        click.echo(orjson.dumps(found).decode())
    elif model:
        click.echo(_described(found))
    else:
        for one in found["data"]:
            click.echo(f"{one['model']:<24} {_where(one)}")


@click.command()
@_model
@click.option("--candidate", help="The deployment to roll out; left out: the configuration's.")
@click.option("--policy", type=_FILE, help="A file with settings, as under `models[].rollout`; left out: the model's.")
@_reason
@_url
@_json
def start(model: str, candidate: str | None, policy: Path | None, reason: str, url: str, *, as_document: bool) -> None:
    """Begin a rollout of MODEL at its first step."""
    body: JsonObject = {"reason": reason}
    if candidate:
        body["candidate"] = candidate
    if policy is not None:
        try:
            body["rollout"] = read_rollout(policy).model_dump(mode="json", exclude_none=True)
        except ConfigError as error:
            click.echo(f"{policy} cannot be used:\n{describe(error.problems)}", err=True)
            sys.exit(2)
    _act(url, model, "start", body, as_document=as_document)


def _command(name: str, text: str) -> click.Command:
    @click.command(name=name, help=text)
    @_model
    @_reason
    @_url
    @_json
    def command(model: str, reason: str, url: str, *, as_document: bool) -> None:
        _act(url, model, name, {"reason": reason}, as_document=as_document)

    return command


pause = _command("pause", "Stop moving the rollout of MODEL: the weight stays, alarms are still heeded.")
resume = _command("resume", "Go on with the rollout of MODEL from the step where it is.")
advance = _command("advance", "Go to the next step of the rollout of MODEL now.")
promote = _command("promote", "Give the candidate of MODEL everything now.")
abort = _command("abort", "Give the stable deployment of MODEL everything now.")


@click.command("set-weight")
@_model
@click.argument("weight", type=click.FloatRange(0, 100))
@_reason
@_url
@_json
def set_weight(model: str, weight: float, reason: str, url: str, *, as_document: bool) -> None:
    """Give the candidate of MODEL this WEIGHT, in percent, and pause the rollout there."""
    _act(url, model, "set-weight", {"weight": weight, "reason": reason}, as_document=as_document)


@click.command("shadow-report")
@_model
@click.option("--hours", type=click.FloatRange(0, 720, min_open=True), default=24.0, show_default=True)
@_url
@_json
def shadow_report(model: str, hours: float, url: str, *, as_document: bool) -> None:
    """Compare the answers of MODEL's shadow with those that callers got."""
    found = _call(url, "GET", f"/{model}/shadow-report?hours={hours}")
    if as_document:
        click.echo(orjson.dumps(found).decode())
    else:
        click.echo("\n\n".join(map(_compared, found["pairs"])) or f"{model}: nothing was compared in {hours:g} hours")


COMMANDS: tuple[click.Command, ...] = (show, start, pause, resume, advance, promote, abort, set_weight, shadow_report)


def _act(url: str, model: str, action: str, body: JsonObject, *, as_document: bool) -> None:
    found = _call(url, "POST", f"/{model}/{action}", body)
    click.echo(orjson.dumps(found).decode() if as_document else f"{found['model']}: {_where(found)}")


def _call(url: str, method: str, path: str, body: JsonObject | None = None) -> Any:
    """The answer of the admin API. What goes wrong is told, and ends the command."""
    headers = {"authorization": f"Bearer {os.environ.get('SLUICEGATE_ADMIN_KEY', '')}"}
    content = None if body is None else orjson.dumps(body)
    if content is not None:
        headers["content-type"] = "application/json"
    try:
        answer = httpx2.request(
            method, f"{url.rstrip('/')}/admin/v1/rollouts{path}", headers=headers, content=content,
            timeout=_TIMEOUT_S, trust_env=False,
        )  # fmt: skip
        found = orjson.loads(answer.content)
    except (httpx2.HTTPError, httpx2.InvalidURL, orjson.JSONDecodeError) as error:
        click.echo(f"no gateway's operators' listener answers at {url}: {error}", err=True)
        sys.exit(1)
    if answer.status_code != 200:
        click.echo(found["error"]["message"], err=True)
        sys.exit(1)
    return found


def _where(one: JsonObject) -> str:
    return f"{one['state']} at {one['weight']:g} % of {one['candidate']} (stable: {one['stable']})"


def _described(one: JsonObject) -> str:
    lines = [f"{one['model']}: {_where(one)}", f"steps: {', '.join(f'{step:g} %' for step in one['steps'])}"]
    if one["reason"]:
        lines.append(f"because: {one['reason']}")
    if one["state"] in {"running", "ready", "paused"}:
        seen = one.get("seen", {"answered": 0, "stable": 0, "candidate": 0})
        lines.append(
            f"step {one['step'] + 1} held for {one['held_s']:.0f} s;"
            f" the candidate answered {seen['answered']} requests;"
            f" units observed: {seen['candidate']} of the candidate, {seen['stable']} of stable"
        )
    if one["gates"]:
        lines += ["", f"{'gate':<18} {'evidence':>10} {'alarms at':>10}  {'candidate bad':>16} {'stable bad':>16}"]
        lines += [_gate(gate) for gate in one["gates"]]
    if one["log"]:
        lines += ["", *map(_logged, reversed(one["log"]))]
    return "\n".join(lines)


def _compared(pair: JsonObject) -> str:
    head = (
        f"{pair['shadow']} beside {pair['primary']}: {pair['comparisons']} comparisons,"
        f" both answered {pair['both_answered']}"
    )
    lines = [head]
    for name, words in (("seconds", "seconds, median"), ("first_seconds", "first token, median")):
        lines.append(f"  {words:<22} {_median(pair[f'primary_{name}'])} → {_median(pair[f'shadow_{name}'])}")
    for name, words in (("ok", "answered"), ("tokens", "output tokens, mean"), ("usd", "US dollars in all")):
        lines.append(f"  {words:<22} {_number(pair[f'primary_{name}'])} → {_number(pair[f'shadow_{name}'])}")
    for name, words in (("refused", "refused"), ("harm", "harmful"), ("format_ok", "in the format asked")):
        found = pair[name]
        lines.append(
            f"  {words:<22} only primary {found['only_primary']}, only shadow {found['only_shadow']}"
            f" of {found['compared']}"
        )
    lines.append(f"  {'same tools called':<22} {pair['tools']['same']} of {pair['tools']['compared']}")
    lines.append(f"  {'same letters, median':<22} {_median(pair['similarity'])}")
    lines.append(f"  {'same meaning, median':<22} {_median(pair['meaning'])}")
    return "\n".join(lines)


def _median(spread: JsonObject | None) -> str:
    return "-" if spread is None else _number(spread["p50"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _gate(gate: JsonObject) -> str:
    candidate = f"{gate['candidate_bad']} of {gate['candidate']}"
    stable = f"{gate['stable_bad']} of {gate['stable']}"
    return f"{gate['gate']:<18} {gate['evidence']:>10.3g} {gate['needed']:>10.3g}  {candidate:>16} {stable:>16}"


def _logged(line: JsonObject) -> str:
    at = datetime.fromtimestamp(line["at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
    moved = f"{line['weight_before']:g} → {line['weight_after']:g} %"
    reason = f": {line['reason']}" if line["reason"] else ""
    return f"{at}  {line['who']:<12} {line['event']:<10} {moved:<14} {line['state_after']}{reason}"
