"""A language model that judges, asked through this gateway itself: on the tenant's account, with `purpose=guard`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from app.config import GuardModel
from app.errors import GatewayError
from app.exchange import JsonObject
from app.safety.detector import OPERATORS, DetectorFailure, Finding, Inspection
from app.safety.remote.formats import FORMATS, Asked, Question, deciding
from app.safety.remote.service import sendable
from app.tasks import together

PURPOSE: Final = "guard"
MOST_TEXT: Final = 24_000
"""Characters of a conversation that a model is shown: its end."""


class Judge:
    """Asks one model."""

    def __init__(self, settings: GuardModel) -> None:
        self._settings = settings
        self._format = FORMATS[settings.format]

    async def check(self, seen: Inspection) -> Sequence[Finding]:
        """What it finds. Raises `DetectorFailure`."""
        if seen.ask is None:
            raise DetectorFailure("nobody is there on whose account the guard model could be asked")
        settings = self._settings
        questions = [
            question
            for asked in conversations(seen)
            for question in self._format(asked, settings.categories, settings.controversial)
        ]
        answers = await together(self._put(seen, question) for question in questions)
        return [finding for answer in answers for finding in answer]

    async def _put(self, seen: Inspection, question: Question) -> list[Finding]:
        if seen.ask is None:
            return []
        body = {**question.body, "temperature": 0, "stream": False, "logprobs": True}
        try:
            doc = await seen.ask(self._settings.model, body, PURPOSE)
        except GatewayError as error:
            raise DetectorFailure(f"the guard model could not be asked: {error.code.name}") from None
        return question.read(_text(doc), deciding(doc))


def conversations(seen: Inspection) -> list[Asked]:
    """What a model is asked about: a prompt as one conversation; of a completion each text as an answer."""
    if seen.stage == "prompt":
        turns: list[JsonObject] = []
        for passage in seen.passages:
            if passage.text.strip() and passage.role not in OPERATORS:
                _append(turns, "assistant" if passage.role == "assistant" else "user", sendable(passage.text))
        return [Asked(turns, "prompt", (), None)] if turns else []
    question = {"role": "user", "content": _end(sendable(seen.question)) or "-"}
    return [
        Asked(
            [question, {"role": "assistant", "content": _end(sendable(seen.before + passage.text))}],
            "completion",
            seen.documents,
            at,
        )
        for at, passage in enumerate(seen.passages)
        if passage.text.strip()
    ]


def _append(turns: list[JsonObject], role: str, text: str) -> None:
    """Turns alternate and begin with a user's: templates insist on it. What is too long loses its beginning."""
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += "\n\n" + text
    else:
        if not turns and role == "assistant":
            turns.append({"role": "user", "content": "-"})
        turns.append({"role": role, "content": text})
    turns[-1]["content"] = _end(turns[-1]["content"])
    while len(turns) > 2 and sum(len(turn["content"]) for turn in turns) > MOST_TEXT:
        del turns[:2]


def _end(text: str) -> str:
    return text[-MOST_TEXT:]


def _text(doc: Any) -> str:
    try:
        text = doc["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        text = None
    if type(text) is not str:
        raise DetectorFailure("the guard model answered with another shape")
    return text
