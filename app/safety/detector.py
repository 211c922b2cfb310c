"""What a member of an ensemble is: it looks at passages of text and says how severe what it finds is.

Members that need no waiting (`rules`, `pii`) work on spans and live in `app/safety/spans.py`; every other one is a
`Detector`: a model in the detector process, or a service behind a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol

from app.pipeline.report import Ask

Stage = Literal["prompt", "completion"]
Severity = Literal[0, 2, 4, 6]
"""Azure's four levels: safe, low, medium, high. A plain hit (a category without levels) is a 6."""
OPERATORS: Final = frozenset({"system", "developer"})
"""Roles whose text the operator or the application wrote: a rule that forbids harm is not harm."""


class Passage(NamedTuple):
    """A text and whose it is: `system`, `developer`, `user`, `assistant`, `tool`, `document`, or another role."""

    text: str
    role: str


class Inspection(NamedTuple):
    """What is to be looked at.

    A prompt comes whole: every message, every text part, tool results among them (role `tool`: indirect attacks). A
    completion comes as its next piece, one passage of role `assistant`, with up to 600 characters of the same answer
    before it in `before`. `documents` and `question` (the last user message) are what an answer is held against. `ask`
    makes calls on the account of whose text it is.
    """

    stage: Stage
    passages: tuple[Passage, ...]
    before: str = ""
    documents: tuple[str, ...] = ()
    question: str = ""
    tenant: str = "-"
    ask: Ask | None = None


class Finding(NamedTuple):
    """One category that was found; absent categories are severity 0. `score` is the detector's own, 0 to 1.

    `passage` is the index of the passage in which it was found, None where it is about all of them together.
    """

    category: str
    severity: Severity
    score: float | None = None
    passage: int | None = None


class DetectorFailure(Exception):
    """A detector could not tell: it is down, overloaded, or answered nonsense. The guard's `on_error` says what then.

    The text goes to the operator's log, never to a caller, and names neither the text nor a credential.
    """


class Detector(Protocol):
    """A member that has to be waited for."""

    @property
    def name(self) -> str:
        """As in `detectors: [...]` of a guard."""

    @property
    def categories(self) -> frozenset[str]:
        """What it can find; a guard whose thresholds name none of these need not ask it."""

    async def check(self, inspection: Inspection) -> Sequence[Finding]:
        """What was found. Raises `DetectorFailure` (only). It is cancelled at its deadline and must bear that."""
