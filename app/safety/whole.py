"""A whole answer judged after the fact, as its guard would have judged it on the way: for answers that nobody gets."""

from __future__ import annotations

from collections.abc import Sequence

from app.exchange import Call
from app.safety.cleared import asked
from app.safety.detector import Inspection, Passage
from app.safety.stage import Stage


async def harmful(stage: Stage, call: Call, texts: Sequence[str]) -> bool | None:
    """Whether a completion stage finds anything in the answer's texts that it would act upon, whatever the action.

    None where nothing was found and a detector said nothing, and where a detector asks on somebody's account: nobody
    pays for this look, and what the others find alone would tell of harm only, never of none.
    """
    if stage.on_account:
        return None
    if stage.scanner is not None:
        for text in texts:
            if any(stage.actions.of(match.category, match.severity) for match in stage.scanner.find_raw(text)[1]):
                return True
    if stage.ensemble is None:
        return False
    documents, question = asked(call)
    passages = tuple(Passage(text, "assistant") for text in texts)
    verdict = await stage.ensemble.check(Inspection("completion", passages, "", documents, question))
    if any(stage.actions.of(told.finding.category, told.finding.severity) for told in verdict.told):
        return True
    return None if verdict.failed else False
