"""The command line. Exit codes: 0 done, 1 failed, 2 wrong use or invalid configuration."""

from __future__ import annotations

import logging
import os
import signal
import sys
from functools import partial
from pathlib import Path

import click
import orjson
import uvloop

from app import demo as demonstration
from app import logs
from app.cells import WORKER, reserve
from app.cli_ledger import hosts, keys, usage
from app.cli_models import models
from app.cli_rollout import rollout
from app.cli_steer import COMMANDS
from app.config import Config, ConfigError, as_json, describe, load
from app.main import Launch, Process, listen
from app.version import VERSION
from app.workers import Supervisor, follow

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """An OpenAI-compatible gateway that routes, meters, guards and rolls out language models."""


main.add_command(rollout)
for steering in COMMANDS:
    rollout.add_command(steering)


@main.command()
@click.option("--json", "as_document", is_flag=True, help="Print a JSON object.")
def version(*, as_document: bool) -> None:
    """Print the version."""
    click.echo(orjson.dumps({"version": VERSION}).decode() if as_document else VERSION)


@main.command()
@click.argument("file", type=_FILE)
@click.option("--json", "as_document", is_flag=True, help="Print a JSON object: `valid` and `problems`.")
def check(file: Path, *, as_document: bool) -> None:
    """Check a configuration FILE; every problem is named with its place in the file."""
    try:
        load(file, os.environ)
    except ConfigError as error:
        if as_document:
            click.echo(orjson.dumps({"valid": False, "problems": as_json(error.problems)}).decode())
        else:
            click.echo(f"{file} cannot be used:\n{describe(error.problems)}", err=True)
        sys.exit(2)
    click.echo(orjson.dumps({"valid": True, "problems": []}).decode() if as_document else f"{file} is valid")


@main.command()
@click.option("--config", "file", type=_FILE, required=True, help="The configuration file.")
@click.option("--host", help="Listen here instead of at `server.host`.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Listen on this port instead of `server.port`; 0 takes a free one."
)
@click.option("--workers", type=click.IntRange(1, 256), help="Start so many processes instead of `server.workers`.")
@click.option("--with-parent", is_flag=True, help="Stop when standard input ends: no gateway outlives what started it.")
def serve(file: Path, host: str | None, port: int | None, workers: int | None, *, with_parent: bool) -> None:
    """Run the gateway until SIGTERM or SIGINT; running requests may end first."""
    chosen = {"server.host": host, "server.port": port, "server.workers": workers}
    overrides: dict[str, object] = {path: value for path, value in chosen.items() if value is not None}
    try:
        config = load(file, os.environ, overrides=overrides)
    except ConfigError as error:
        click.echo(f"{file} cannot be used:\n{describe(error.problems)}", err=True)
        sys.exit(2)
    logs.set_up(config.telemetry.log)
    try:
        listeners = listen(config)
    except OSError as error:
        click.echo(error.strerror, err=True)
        sys.exit(1)
    launch = Launch(config, file, listeners, overrides)
    lifeline = sys.stdin.fileno() if with_parent else None
    sys.exit(_supervise(config, launch, lifeline) if config.server.workers > 1 else _run(launch, {lifeline: None}))


@main.command()
@click.option("--once", is_flag=True, help="Stop after the first answer.")
def demo(*, once: bool) -> None:
    """Start the gateway before a fake upstream, send a first streamed request, show what happened, stay up."""
    sys.exit(demonstration.run(once=once))


main.add_command(keys)
main.add_command(hosts)
main.add_command(usage)
main.add_command(models)


def _supervise(config: Config, launch: Launch, lifeline: int | None) -> int:
    supervisor: Supervisor

    def work(worker: int, folder: Path) -> int:
        first = lifeline if worker == 0 else None  # were each to follow it, the second would cut what runs
        return _run(launch.for_worker(worker, folder), {supervisor.lifeline: None, first: os.getppid()})

    names = [WORKER.format(number) for number in range(config.server.workers)]
    supervisor = Supervisor(
        config.server.workers, work, launch.listeners.close, lambda folder: reserve(folder, names)
    )  # fmt: skip
    try:
        return supervisor.run()
    except OSError as error:
        click.echo(error.strerror, err=True)
        return 1


def _run(launch: Launch, lifelines: dict[int | None, int | None]) -> int:
    """Serve until told to stop. The end of a lifeline stops the process that it names, this one if it names none."""

    async def serve_callers() -> None:
        process = Process(launch)
        for lifeline, pid in lifelines.items():
            if lifeline is not None:
                follow(lifeline, process.stop if pid is None else partial(os.kill, pid, signal.SIGTERM))
        await process.run()

    try:
        uvloop.run(serve_callers())
    except ConfigError as error:
        click.echo(f"{launch.path} cannot be used:\n{describe(error.problems)}", err=True)
        return 2
    except Exception:
        logging.getLogger("sluicegate").exception("the gateway failed")
        return 1
    return 0


if __name__ == "__main__":
    main()
