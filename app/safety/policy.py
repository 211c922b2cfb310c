"""A guard, compiled: what its stages look for, and what they do about it for one tenant."""

from __future__ import annotations

import asyncio
from typing import Final

from app.errors import INVALID_REQUEST, GatewayError
from app.exchange import Call, JsonObject, Operation
from app.pipeline.counting import times_read
from app.pipeline.report import Hit, Report
from app.safety.actions import BLOCK, REDACT, Actions, results
from app.safety.answers import Answers
from app.safety.cleared import Cleared
from app.safety.detector import Inspection, Passage
from app.safety.ensemble import Ensemble
from app.safety.located import Located, apply, locate
from app.safety.prompts import Slot, TokenIds, slots
from app.safety.stage import Stage
from app.safety.vault import Vault
from app.safety.window import counted

_TAKEN: Final = "[REDACTED]"
LARGE: Final = 256 * 1024
"""Characters of a prompt that is looked at in a thread: requests beside it go on meanwhile."""


class Findings:
    """What was found in one text or one prompt: severities, and what was done."""

    __slots__ = ("blocked", "severities")

    def __init__(self) -> None:
        self.severities: dict[str, int] = {}
        self.blocked: set[str] = set()

    def add(self, actions: Actions, category: str, severity: int, detector: str, report: Report) -> str | None:
        """Take in a finding; returns what is done about it, and tells the report."""
        self.severities[category] = max(severity, self.severities.get(category, 0))
        action = actions.of(category, severity)
        if action is not None:
            report.add(Hit(actions.stage, category, severity, action, detector))
            if action == BLOCK:
                self.blocked.add(category)
        return action


class CheckedPrompt:
    """A prompt that was looked at."""

    __slots__ = ("call", "results", "safe_text", "seen", "vault")

    def __init__(self, call: Call, *, seen: bool = True) -> None:
        self.call = call
        self.seen = seen
        self.results: JsonObject = {}
        self.safe_text: str | None = None
        self.vault: Vault | None = None


class GuardPolicy:
    """A guard as it holds for one tenant."""

    __slots__ = ("_completion", "_prompt", "_restore", "asks", "name")

    def __init__(self, name: str, prompt: Stage | None, completion: Stage | None, *, restore: bool) -> None:
        self.name = name
        self._prompt = prompt
        self._completion = completion
        self._restore = restore
        self.asks = any(stage is not None and stage.on_account for stage in (prompt, completion))
        """Whether some detector asks a model of this gateway, on the account of whose text it is."""

    @property
    def judge(self) -> Stage:
        """The stage that judges texts for whoever asks."""
        stage = self._prompt or self._completion
        if stage is None:
            raise AssertionError("a guard looks at something")
        return stage

    @property
    def completion(self) -> Stage | None:
        """The stage that looks at answers."""
        return self._completion

    async def prompt(self, call: Call, report: Report) -> CheckedPrompt:
        """Look at everything that a model will read. Redacts in place: the request's body is nobody else's.

        Raises `GatewayError` on prompts of token ids, which cannot be looked at.
        """
        stage = self._prompt
        checked = CheckedPrompt(call, seen=stage is not None)
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
        if not located and stage.ensemble is None and not stage.actions.annotates:
            return checked
        findings = Findings()
        for match in counted([one.match for one in located]):
            findings.add(stage.actions, match.category, match.severity, match.detector, report)
        redactions = [one for one in located if stage.actions.of_hits.get(one.match.category) == REDACT]
        unsure, taken = False, set[int]()
        if stage.ensemble is not None and not findings.blocked and found:
            unsure, taken = await self._ask(stage, stage.ensemble, found, findings, report)
        if findings.blocked or unsure:
            report.refused = True
            checked.safe_text = stage.safe_text
        elif redactions or taken:
            _redact(checked, found, redactions, taken)
        if report.refused or stage.actions.annotates:
            checked.results = results(findings.severities, findings.blocked, stage.looks_for, unsure=unsure)
        return checked

    async def _ask(
        self, stage: Stage, ensemble: Ensemble, found: list[Slot], findings: Findings, report: Report
    ) -> tuple[bool, set[int]]:
        """Ask the ensemble about a prompt: whether a verdict is missing that has to be there, and what to take out.

        A passage that is to be redacted is taken out whole: nobody says where in it the harm is.
        """
        taken: set[int] = set()
        texts = tuple(Passage(slot.text, slot.role) for slot in found)
        verdict = await ensemble.check(Inspection("prompt", texts, ask=report.ask))
        for detector, reason in verdict.failed:
            report.fail(detector, reason)
        for detector, finding in verdict.told:
            action = findings.add(stage.actions, finding.category, finding.severity, detector, report)
            if action == REDACT:
                taken.update(range(len(found)) if finding.passage is None else (finding.passage,))
        return ensemble.unsafe(verdict), taken

    def watch(self, prompt: CheckedPrompt, report: Report) -> Answers | None:
        """Somebody to watch the answer; None where there is nothing to do about it."""
        vault = prompt.vault if self._restore else None
        stage = self._completion
        if prompt.call.operation is Operation.EMBEDDINGS or (stage is None and vault is None and not prompt.results):
            return None
        return Answers(prompt.call, stage, report, vault, prompt.results)

    def slow_watch(self, prompt: CheckedPrompt, report: Report) -> Cleared | None:
        """The same with an ensemble that has to be waited for; None where there is none."""
        stage = self._completion
        if stage is None or stage.ensemble is None:
            return None
        answers = self.watch(prompt, report)
        return None if answers is None else Cleared(answers, stage, stage.ensemble, prompt.call, report)


def _redact(checked: CheckedPrompt, found: list[Slot], redactions: list[Located], taken: set[int]) -> None:
    """Write placeholders for what was found, and for whole passages that are taken out; the call has grown by those."""
    call = checked.call
    checked.vault = Vault("".join([slot.text for slot in found]))
    written = apply(redactions, found, checked.vault) + len(_TAKEN) * len(taken)
    for place in taken:
        found[place].put(_TAKEN)
    if call.size:  # nothing is read where it costs nothing
        checked.call = call._replace(size=call.size + written * times_read(call))
