"""One harmful sentence in a generated stream: how many of its characters reach the caller before the classifier cuts.

    python -m scripts.safety_leaks [--streams 1000] [--profile tiny] [--hold-ms 400] [--seed 1]

The sentences are our own frozen test lines of severity 4 and 6 and never printed. Each stream is watched in `strict`
and in `async` mode, with a real detector process. Pauses stand on a clock that leaps while nobody waits for the
detector; how long that takes is real. A sentence that is not flagged where it stands alone is a miss, whatever a stream
does to it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from app.config import CompletionStage
from app.exchange import Batch, Call, Event, JsonObject, Operation
from app.pipeline.guard import Raced
from app.pipeline.progress import Progress
from app.pipeline.report import Report
from app.providers.sse import SSEParser
from app.safety.actions import BLOCK, Actions
from app.safety.answers import Answers
from app.safety.cleared import Cleared
from app.safety.detector import Finding, Inspection, Passage
from app.safety.models.client import Client
from app.safety.models.members import ModelDetector
from app.safety.stage import Stage
from scripts.safety.rows import Row, own
from scripts.safety_streams import PLACES, chunk, pieces, said, wire

MODES = ("strict", "async")
DEADLINE_MS = 20_000
"""Long, so that a busy machine cuts nothing: this is about what the classifier sees, not about how fast it is."""
HARMLESS = {
    "en": (
        "The library opens at nine.",
        "We planted two rows of beans.",
        "The bridge was built in 1931.",
        "Is the soup still warm?",
    ),
    "de": (
        "Die Bibliothek \u00f6ffnet um neun.",
        "Wir haben zwei Reihen Bohnen ges\u00e4t.",
        "Die Br\u00fccke stammt von 1931.",
        "Ist die Suppe noch warm?",
    ),
    "ja": (
        "\u56f3\u66f8\u9928\u306f\u4e5d\u6642\u306b\u958b\u304d\u307e\u3059\u3002",
        "\u8c46\u3092\u4e8c\u5217\u690d\u3048\u307e\u3057\u305f\u3002",
        "\u305d\u306e\u6a4b\u306f1931\u5e74\u306b\u3067\u304d\u307e\u3057\u305f\u3002",
        "\u660e\u65e5\u306f\u6674\u308c\u307e\u3059\u3002",
    ),
    "es": (
        "La biblioteca abre a las nueve.",
        "Plantamos dos filas de jud\u00edas.",
        "El puente es de 1931.",
        "La sopa todav\u00eda est\u00e1 caliente.",
    ),
    "fr": (
        "La biblioth\u00e8que ouvre \u00e0 neuf heures.",
        "Nous avons plant\u00e9 deux rangs de haricots.",
        "Le pont date de 1931.",
        "La soupe est encore chaude.",
    ),
    "it": (
        "La biblioteca apre alle nove.",
        "Abbiamo piantato due file di fagioli.",
        "Il ponte \u00e8 del 1931.",
        "La zuppa \u00e8 ancora calda.",
    ),
    "pt": (
        "A biblioteca abre \u00e0s nove.",
        "Plantamos duas fileiras de feij\u00e3o.",
        "A ponte \u00e9 de 1931.",
        "A sopa ainda est\u00e1 quente.",
    ),
    "zh": (
        "\u56fe\u4e66\u9986\u4e5d\u70b9\u5f00\u95e8\u3002",
        "\u6211\u4eec\u79cd\u4e86\u4e24\u6392\u8c46\u5b50\u3002",
        "\u8fd9\u5ea7\u6865\u5efa\u4e8e1931\u5e74\u3002",
        "\u660e\u5929\u662f\u6674\u5929\u3002",
    ),
}


class Clock(selectors.DefaultSelector):
    """Waits for sockets; where nobody waits for an answer, it leaps over the time until the next timer instead."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0
        """Seconds that were leapt over."""
        self.open = 0
        """Questions that a detector has not answered yet."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As any selector does, but for the leap."""
        if self.open or not timeout:
            return super().select(timeout)
        found = super().select(0)
        if not found:
            self.ahead += timeout
        return found


class Loop(asyncio.SelectorEventLoop):
    """An event loop on that clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(self.clock)

    def time(self) -> float:
        """The real time, and what was leapt over."""
        return super().time() + self.clock.ahead


class Asked(NamedTuple):
    """The classifier's member, and the clock that has to run while it is asked."""

    member: ModelDetector
    clock: Clock

    @property
    def name(self) -> str:
        """As the member's."""
        return self.member.name

    @property
    def categories(self) -> frozenset[str]:
        """As the member's."""
        return self.member.categories

    async def check(self, inspection: Inspection) -> Sequence[Finding]:
        """What the process finds, in real time."""
        self.clock.open += 1
        try:
            return await self.member.check(inspection)
        finally:
            self.clock.open -= 1


class Script(NamedTuple):
    """What an upstream says and when, and where the harmful sentence stands in it."""

    place: str
    before: str
    ends: tuple[int, ...]
    """How much of the raw text each character of the sentence is over with, from where the sentence begins."""
    took: float
    """Seconds between the sentence's first piece and its last."""
    batches: tuple[tuple[float, tuple[bytes, ...]], ...]
    """Pauses, and the events that come after them."""

    def reached(self, text: str) -> int:
        """Characters of the sentence in what has reached the caller."""
        out = len(text) - len(self.before)
        return sum(end <= out for end in self.ends)


class Said:
    """An upstream that goes by a script."""

    def __init__(self, script: Script) -> None:
        self._rest = iter(script.batches)
        self.first: Batch = _events(next(self._rest)[1])

    async def more(self, outlet: Any = None) -> Batch:  # noqa: ARG002 - what answers have
        """What comes next, after its pause; empty at the end."""
        pause, batch = next(self._rest, (0.0, ()))
        await asyncio.sleep(pause)
        return _events(batch)


def _events(batch: tuple[bytes, ...]) -> Batch:
    return [Event(data, json.loads(data)) for data in batch]


class Outcome(NamedTuple):
    """What became of one stream."""

    place: str
    flagged: bool
    """Whether the sentence is flagged where it stands alone."""
    slow: bool
    """Whether the sentence takes longer to come than text is held."""
    cut: bool
    reached: int
    size: int
    late: int


def script(row: Row, before: list[str], chance: random.Random) -> Script:
    """A stream of harmless sentences with this one among them."""
    place, gap = chance.choice(PLACES), "" if row.language in ("ja", "zh") else " "
    after = chance.choices(HARMLESS[row.language], k=chance.randint(0, 4))
    head = "".join(one + gap for one in before)
    tail = "".join(gap + one for one in after)
    signs = list(row.text)
    if place == "tool arguments":  # JSON text, with escapes for everything but ASCII or without
        escapes = chance.random() < 0.5
        head, tail, *signs = (json.dumps(one, ensure_ascii=escapes)[1:-1] for one in (head, tail, *signs))
        head, tail = f'{{"q": "{head}', f'{tail}"}}'
    ends = tuple(accumulate(map(len, signs)))
    cut = pieces(head + "".join(signs) + tail, chance)
    at = [0, *accumulate(map(len, cut))]
    inside = [n for n in range(1, len(cut)) if len(head) < at[n] < len(head) + ends[-1]]
    stops = chance.sample(inside, min(len(inside), chance.choice((0, 0, 1, 2))))
    pauses = {n: chance.uniform(0, 2) for n in stops}
    usual = chance.choice((0.0, 0.01, 0.05))
    other = chunk("second choice" if place == "content" else "content", "ok. ")
    finish = {"id": "c", "choices": [{"index": i, "delta": {}, "finish_reason": "stop"} for i in (0, 1)]}
    docs: list[tuple[float, JsonObject]] = [(0.0, other)]
    docs += [(pauses.get(n, usual), chunk(place, piece)) for n, piece in enumerate(cut)]
    docs.append((usual, finish))
    took = sum(pauses.get(n, usual) for n in inside)
    return Script(place, head, ends, took, tuple(_sent(docs, chance)))


def _sent(docs: list[tuple[float, JsonObject]], chance: random.Random) -> Iterator[tuple[float, tuple[bytes, ...]]]:
    """The events as the parser of the wire has them, several at a time where the network joined them."""
    parser, together = SSEParser(), chance.choice((1, 1, 4))
    while docs:
        count = 1
        while count < min(together, len(docs)) and docs[count][0] < 0.1:
            count += 1
        some, docs = docs[:count], docs[count:]
        cut = wire([doc for _, doc in some], chance)
        yield max(pause for pause, _ in some), tuple(data for part in cut for data in parser.feed(part))


def stage(mode: str, hold_ms: int, detector: Asked) -> Stage:
    """A guard's stage with the classifier alone."""
    given = {"detectors": ("classifier",), "deadline_ms": DEADLINE_MS, "stream": {"mode": mode, "hold_ms": hold_ms}}
    return Stage(CompletionStage.model_validate(given), Actions("completion", {}, {}), None, {"classifier": detector})


async def flags(guard: Stage, detector: Asked, text: str) -> bool:
    """Whether the guard would act on a text that stands alone."""
    found = await detector.check(Inspection("completion", (Passage(text, "assistant"),)))
    return any(guard.actions.of(one.category, one.severity) == BLOCK for one in found)


async def one(given: Script, guard: Stage) -> tuple[str, Report]:
    """What reaches the caller of one stream, where the sentence stands."""
    call = Call(Operation.CHAT, "m", True, False, {}, 0, choices=2)  # noqa: FBT003 - named in the tuple
    report = Report("g")
    ensemble = guard.ensemble
    assert ensemble is not None  # noqa: S101 - `stage` names a detector
    watch = Cleared(Answers(call, guard, report, None, {}), guard, ensemble, call, report)
    answer = Raced(Said(given), watch, Progress("r", Operation.CHAT))
    await answer.begin()
    out, batch = list(answer.first), answer.first
    while batch:
        batch = await answer.more()
        out += batch
    return said(given.place, [event.doc for event in out]), report


async def measure(
    numbers: Iterable[int], seed: int, hold_ms: int, socket: Path, clock: Clock
) -> dict[str, list[Outcome]]:
    """The outcome of every stream in every mode."""
    rows = [row for row in own() if row.test and max(row.levels.values(), default=0) >= 4]
    client = Client(socket)
    detector = Asked(ModelDetector("classifier", client, DEADLINE_MS / 1000), clock)
    guards = {mode: stage(mode, hold_ms, detector) for mode in MODES}
    found: dict[str, list[Outcome]] = {mode: [] for mode in MODES}
    for number in numbers:
        chance = random.Random(seed * 1_000_003 + number)
        row = chance.choice(rows)
        before = chance.choices(HARMLESS[row.language], k=chance.randint(0, 4))
        if await flags(guards["strict"], detector, " ".join(before)):
            before = []  # would be cut before the sentence comes
        given, flagged = script(row, before, chance), await flags(guards["strict"], detector, row.text)
        for mode, guard in guards.items():
            text, report = await one(given, guard)
            reached, late = given.reached(text), sum(report.failures.values())
            slow = given.took > hold_ms / 1000
            found[mode].append(Outcome(given.place, flagged, slow, report.cut, reached, len(row.text), late))
    await client.aclose()
    return found


def table(found: dict[str, list[Outcome]]) -> Iterator[str]:
    """Rows by mode and kind of stream."""
    heads = ("streams", "stopped", "no char.", "a part", "all", "mean", "p95", "max")
    yield " " * 38 + "".join(f"{head:>9}" for head in heads)
    for mode, every in found.items():
        kinds = {
            "missed alone": [one for one in every if not one.flagged],
            "flagged, comes within the hold": [one for one in every if one.flagged and not one.slow],
            "flagged, comes slower": [one for one in every if one.flagged and one.slow],
        }
        for kind, some in kinds.items():
            out = sorted(one.reached for one in some) or [0]
            stopped, none = sum(one.cut for one in some), sum(not one.reached for one in some)
            whole = sum(one.reached == one.size for one in some)
            counts = (len(some), stopped, none, len(some) - none - whole, whole)
            yield (
                f"{mode:7}{kind:31}"
                + "".join(f"{count:9}" for count in counts)
                + f"{fmean(out):9.1f}{out[int(0.95 * (len(out) - 1))]:9}{out[-1]:9}"
            )
    some = found[MODES[0]]
    late = sum(one.late for every in found.values() for one in every)
    yield f"a sentence has {fmean(one.size for one in some):.0f} characters (mean); {late} questions went unanswered"


@contextmanager
def process(profile: str) -> Iterator[Path]:
    """A detector process as the gateway starts one; its socket."""
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder, "detectors.sock")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "app.safety.models.service", "--socket", str(socket), "--profile", profile]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as running:
            assert running.stdin is not None  # noqa: S101 - piped
            assert running.stdout is not None  # noqa: S101 - piped
            if running.stdout.readline() != b"ready\n":
                raise RuntimeError("the detector process did not start")
            try:
                yield socket
            finally:
                running.stdin.close()


def run(numbers: Iterable[int], seed: int, profile: str, hold_ms: int) -> dict[str, list[Outcome]]:
    """All streams, on a clock of their own."""
    with process(profile) as socket, asyncio.Runner(loop_factory=Loop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Loop)  # noqa: S101 - made above
        return runner.run(measure(numbers, seed, hold_ms, socket, loop.clock))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", default="tiny", choices=("full", "fast", "tiny"))
    parser.add_argument("--hold-ms", type=int, default=400)
    given = parser.parse_args()
    for line in table(run(range(given.streams), given.seed, given.profile, given.hold_ms)):
        print(line)


if __name__ == "__main__":
    main()
