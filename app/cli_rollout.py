"""`sluicegate rollout`: what an operator asks of rollouts on the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import orjson

from app.config import ConfigError, describe, read_rollout
from app.control.policy import Policy, policy_of
from app.control.rehearse import Rehearsal, rehearse
from app.control.simulate import Trial, simulate
from app.control.traffic import Rates
from app.exchange import JsonObject

_SHARE = click.FloatRange(0, 1)
_COUNT = click.IntRange(min=1)


@click.group()
def rollout() -> None:
    """Moving traffic from one version of a model to the next."""


@rollout.command(name="simulate")
@click.option("--stable-rate", type=_SHARE, required=True, help="Share of bad events of the stable deployment.")
@click.option("--candidate-rate", type=_SHARE, required=True, help="Share of bad events of the candidate.")
@click.option(
    "--weight", type=click.FloatRange(0, 100, min_open=True), default=10.0, show_default=True, help="Percent."
)
@click.option("--alpha", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05, show_default=True)
@click.option("--max-requests", type=_COUNT, default=20_000, show_default=True, help="Requests per run, both arms.")
@click.option("--look-every", type=_COUNT, default=20, show_default=True, help="Requests between two looks.")
@click.option("--runs", type=_COUNT, default=200, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Try a whole rollout: a file with its settings, as under `models[].rollout`, instead of one weight.",
)
@click.option(
    "--rps", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True, help="Requests per second."
)
@click.option("--json", "as_document", is_flag=True, help="Print a JSON object.")
def simulate_command(  # noqa: PLR0913  # its options are the contract's
    *, stable_rate: float, candidate_rate: float, weight: float, alpha: float, max_requests: int, look_every: int,
    runs: int, seed: int, policy: Path | None, rps: float, as_document: bool,
) -> None:  # fmt: skip
    """Try a gate, or a whole policy, on invented traffic before using it; the code is the one that decides live."""
    if policy is None:
        trial = Trial(
            stable_rate, candidate_rate, weight=weight, alpha=alpha, max_requests=max_requests,
            look_every=look_every, runs=runs, seed=seed, rps=rps,
        )  # fmt: skip
        document: JsonObject = {**simulate(trial).document()}
    else:
        plan = _policy(policy)
        alike = Rates(stable_rate, stable_rate)
        rates = (Rates(stable_rate, candidate_rate), *[alike] * (len(plan.gates) - 1))
        rehearsal = Rehearsal(plan, rates, rps=rps, look_every=look_every, runs=runs, seed=seed)
        document = {**rehearse(rehearsal).document()}
    if as_document:
        click.echo(orjson.dumps(document).decode())
        return
    for name, value in document.items():
        click.echo(f"{name.replace('_', ' '):<32} {'never' if value is None else value}")


def _policy(file: Path) -> Policy:
    try:
        return policy_of(read_rollout(file))
    except ConfigError as error:
        click.echo(f"{file} cannot be used:\n{describe(error.problems)}", err=True)
    except ValueError as error:
        click.echo(f"{file} cannot be used: {error}", err=True)
    sys.exit(2)
