"""A guard, compiled: what its stages look for, and what they do about it for one tenant."""

from __future__ import annotations

import asyncio
from typing import Final

from app.errors import INVALID_REQUEST, GatewayError
from app.exchange import Call, JsonObject, Operation
from app.pipeline.report import Hit, Report
from app.safety.actions import BLOCK, REDACT, Actions, results
from app.safety.answers import Answers
from app.safety.located import Located, apply, locate
from app.safety.prompts import TokenIds, slots
from app.safety.stage import Stage
from app.safety.terms import Match
from app.safety.vault import Vault
from app.safety.window import counted

LARGE: Final = 256 * 1024
"""Characters of a prompt that is looked at in a thread: requests beside it go on meanwhile."""


class Findings:
    """What was found in one text or one prompt: severities, and what was done."""

    __slots__ = ("blocked", "severities")

    def __init__(self) -> None:
        self.severities: dict[str, int] = {}
        self.blocked: set[str] = set()

    def add(self, actions: Actions, match: Match, report: Report) -> None:
        """Take in a match, and tell the report what is done about it."""
        action = actions.of(match.category, match.severity)
        self.severities[match.category] = max(match.severity, self.severities.get(match.category, 0))
        if action is not None:
            report.add(Hit(actions.stage, match.category, match.severity, action, match.detector))
            if action == BLOCK:
                self.blocked.add(match.category)


class CheckedPrompt:
    """A prompt that was looked at."""

    __slots__ = ("call", "results", "safe_text", "vault")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.results: JsonObject = {}
        self.safe_text: str | None = None
        self.vault: Vault | None = None


class GuardPolicy:
    """A guard as it holds for one tenant."""

    __slots__ = ("_completion", "_prompt", "_restore", "name")

    def __init__(self, name: str, prompt: Stage | None, completion: Stage | None, *, restore: bool) -> None:
        self.name = name
        self._prompt = prompt
        self._completion = completion
        self._restore = restore

    async def prompt(self, call: Call, report: Report) -> CheckedPrompt:
        """Look at everything that a model will read. Redacts in place: the request's body is nobody else's.

        Raises `GatewayError` on prompts of token ids, which cannot be looked at.
        """
        checked = CheckedPrompt(call)
        stage = self._prompt
        if stage is None:
            return checked
        try:
            found = slots(call.body)
        except TokenIds:
            message = "This model's guard reads prompts; send text, not token ids."
            raise GatewayError(INVALID_REQUEST, message, param="prompt" if "prompt" in call.body else "input") from None
        located: list[Located] = []
        if stage.scanner is not None and found:
            if call.size > LARGE:
                located = await asyncio.to_thread(locate, stage.scanner, found)
            else:
                located = locate(stage.scanner, found)
        findings = Findings()
        for match in counted([one.match for one in located]):
            findings.add(stage.actions, match, report)
        redactions = [one for one in located if stage.actions.of_hits.get(one.match.category) == REDACT]
        if findings.blocked:
            report.refused = True
            checked.safe_text = stage.safe_text
        elif redactions:
            checked.vault = Vault("".join([slot.text for slot in found]))
            grown = apply(redactions, found, checked.vault)
            checked.call = call._replace(size=call.size + max(0, grown))
        if findings.blocked or stage.actions.annotates:
            checked.results = results(findings.severities, findings.blocked, stage.looks_for)
        return checked

    def watch(self, prompt: CheckedPrompt, report: Report) -> Answers | None:
        """Somebody to watch the answer; None where there is nothing to do about it."""
        vault = prompt.vault if self._restore else None
        stage = self._completion
        if prompt.call.operation is Operation.EMBEDDINGS or (stage is None and vault is None and not prompt.results):
            return None
        return Answers(prompt.call, stage, report, vault, prompt.results)
