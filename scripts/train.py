"""Traffic from which the C compiler learns what is hot: `python -m scripts.train FOLDER`, run by `scripts.compile`.

A gateway that is compiled to count itself, from FOLDER, serves the benchmark's requests with everything on and as by
default, whole and streamed. It writes what it counted beside its objects when it ends.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import uvloop

from app.compiled import PLACE
from loadtests.bench import choose_cores, upstream_launch
from loadtests.peers.base import Setup, Site
from loadtests.peers.sluicegate import VARIANTS, Sluicegate
from loadtests.round import Ask, Subject, drive
from loadtests.server import Server, free_port, settled_on
from loadtests.workload import STREAM_MODEL, TOKENS, WHOLE_MODEL, Door, StreamCheck, chat, check_whole

WHOLE, STREAMS, AT_ONCE = 6000, 400, 32
"""Requests of each kind, and how many at a time."""
LONGEST = 60.0
"""Seconds for each kind."""
LESSONS = ("sluicegate-all", "sluicegate")


class Learning(Sluicegate):
    """One that uses the compiled modules of a folder."""

    def __init__(self, pupil: Sluicegate, folder: Path) -> None:
        super().__init__(pupil.name, pupil.note, *pupil.features)
        self._folder = folder

    def setup(self, site: Site) -> Setup:
        """As it is started for the benchmark."""
        setup = super().setup(site)
        if setup.launch is None:
            raise AssertionError("a gateway is started")
        launch = replace(setup.launch, env={**setup.launch.env, PLACE: str(self._folder)})
        return replace(setup, launch=launch)


async def lesson(subject: Subject) -> None:
    """Whole answers, then streams. Raises WrongAnswerError."""
    whole = Ask(subject.door.shot(chat(WHOLE_MODEL, stream=False)), check_whole)
    await drive(subject, whole, WHOLE, AT_ONCE, LONGEST)
    stream = Ask(subject.door.shot(chat(STREAM_MODEL, stream=True)), StreamCheck(TOKENS))
    await drive(subject, stream, STREAMS, AT_ONCE, LONGEST)


def train(compiled: Path) -> None:
    """All lessons, one after another."""
    cores = choose_cores()
    with settled_on(cores.others), tempfile.TemporaryDirectory(prefix="sluicegate-train-") as scratch:
        for pupil in VARIANTS:
            if pupil.name not in LESSONS:
                continue
            folder = Path(scratch, pupil.name)
            folder.mkdir()
            with ExitStack() as stack:
                upstream = free_port()
                stack.enter_context(Server(upstream_launch(upstream), folder / "upstream.log", [cores.others]))
                setup = Learning(pupil, compiled).setup(Site(free_port(), upstream, folder, stack))
                if setup.launch is None:
                    raise AssertionError("a gateway is started")
                server = stack.enter_context(Server(setup.launch, folder / "log", [cores.gateway]))
                subject = Subject(Door("127.0.0.1", setup.port, setup.headers), server)
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(lesson(subject))


if __name__ == "__main__":
    train(Path(sys.argv[1]))
