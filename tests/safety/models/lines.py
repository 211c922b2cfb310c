"""What tests of the detector process share: a server in the test's own loop, and heads that fit on a page."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from app.safety.detector import Finding, Inspection, Passage
from app.safety.models import wire
from app.safety.models.ngrams import BITS, features
from app.safety.models.service import Line, Service

PROMPT = Inspection("prompt", (Passage("Tell me how it works.", "user"),))


def finding_of(question: wire.Ask) -> Finding:
    """What `Models` says to a question: its own text, as a category."""
    return Finding(question.inspection.passages[0].text, 4, 0.5, 0)


class Models:
    """Answers once it may; remembers what it was asked together."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.may.set()
        self.batches: list[list[int]] = []
        self.seen: list[Inspection] = []
        self.error: Exception | None = None

    def answer(self, questions: Sequence[wire.Ask]) -> list[wire.Answer]:
        """In the thread of the models."""
        self.batches.append([question.number for question in questions])
        self.seen.extend(question.inspection for question in questions)
        self.may.wait(10)
        if self.error is not None:
            raise self.error
        return [wire.Answer(question.number, (finding_of(question),)) for question in questions]


@asynccontextmanager
async def serving(path: Path, models: Models, most: int = 8) -> AsyncIterator[Service]:
    """A service at a socket, in this loop."""
    service = Service(models.answer, most)
    server = await asyncio.get_running_loop().create_unix_server(lambda: Line(service), str(path))
    try:
        yield service
    finally:
        models.may.set()
        server.close()
        await service.aclose()


def arrays(**hinted: str) -> dict[str, Any]:
    """A weights file in memory: n-grams alone, where the words given for an output speak for it and nothing else does.

    `arrays(violence4="kill")`: `kill` in a text makes it violent. Level 2 goes with level 4, level 6 with nothing.
    """
    harms = [f"{harm}{level}" for harm in ("hate", "sexual", "violence", "self_harm") for level in (2, 4, 6)]
    outputs = [*harms, "jailbreak", "indirect_attack"]
    grams = np.zeros((2**BITS, len(outputs)), np.float32)
    for output, word in hinted.items():
        index, weights = features(word)
        for column in {output, output.replace("4", "2")} & set(outputs):
            grams[index, outputs.index(column)] = 100 * weights
    mix = np.zeros((3, len(outputs)), np.float32)
    mix[0], mix[2] = 1, -45
    return {
        "outputs": np.array(outputs),
        "encoders": np.array([], dtype="U8"),
        "languages": np.array(["en", "de"]),
        "thresholds": np.full(len(outputs), 0.5, np.float32),
        "grams": grams,
        "mix": mix,
    }
