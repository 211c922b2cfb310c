"""`python -m tests.upstream`: run the fake upstream until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

import orjson
import uvloop

from tests.upstream import behaviour
from tests.upstream.server import Server
from tests.upstream.state import Settings, State


def main() -> None:
    """Parse the command line and serve."""
    grammar = (behaviour.__doc__ or "").partition("\n\n")[2]
    parser = argparse.ArgumentParser(
        prog="python -m tests.upstream",
        description="A fake model server. What a model does is written in its name:\n\n" + grammar,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--port", type=int, default=0, help="0 takes a free one; the first line on stdout is JSON and names it"
    )
    parser.add_argument("--log", type=Path, help="append one JSON line per finished request")
    parser.add_argument("--record", type=Path, help="append every request as it came, headers and body")
    parser.add_argument("--keep", type=int, default=50_000, help="log lines kept in memory (50000)")
    parser.add_argument(
        "--alias",
        action="append",
        default=[],
        metavar="NAME=SPEC",
        help="let a model of this name behave as SPEC; repeatable",
    )
    parser.add_argument(
        "--set", dest="settings", default="{}", metavar="JSON", help="settings to start with, as for POST /_control/set"
    )
    parser.add_argument(
        "--with-parent",
        action="store_true",
        help="stop when stdin ends, so that no server outlives the test that started it",
    )
    uvloop.run(_run(parser.parse_args()))


async def _run(options: argparse.Namespace) -> None:
    with ExitStack() as files:
        log = _appending(options.log, files)
        record = _appending(options.record, files)
        settings = Settings(
            aliases=dict(alias.split("=", 1) for alias in options.alias), **orjson.loads(options.settings)
        )
        server = Server(State(settings, keep=options.keep, log=log, record=record))
        port = await server.start(options.host, options.port)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        if options.with_parent:
            asyncio.get_running_loop().add_reader(0, lambda: None if os.read(0, 4096) else stop.set())
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        host = f"[{options.host}]" if ":" in options.host else options.host
        where = {
            "host": options.host,
            "port": port,
            "url": f"http://{host}:{port}",
            "base_url": f"http://{host}:{port}/v1",
            "pid": os.getpid(),
        }
        sys.stdout.write(orjson.dumps(where).decode() + "\n")
        sys.stdout.flush()
        await stop.wait()
        await server.stop()


def _appending(path: Path | None, files: ExitStack) -> TextIO | None:
    return files.enter_context(path.open("a", encoding="utf-8")) if path else None


if __name__ == "__main__":
    main()
