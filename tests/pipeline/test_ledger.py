"""What the journal is told of a request, attempt by attempt."""

from __future__ import annotations

import pytest

from app.entry import MOST, SHORT, decode
from app.errors import GatewayError, Outcome
from app.exchange import Arm, Call, Method, Operation, Principal, Usage
from app.metering import Charge
from app.pipeline.ledger import Ledger
from app.pipeline.progress import Progress
from app.pipeline.settle import charged
from app.table import Deployment, build
from tests.support.configs import loaded
from tests.support.entries import Journal

TABLE = build(loaded({f"deployments[{at}].template_tokens": 0 for at in range(2)}))
ONE, TWO = TABLE.deployments["one"], TABLE.deployments["two"]
CALL = Call(
    Operation.CHAT, "chat", stream=False, include_usage=False, body={}, size=200, max_output_tokens=50, plain=True
)


def request() -> Progress:
    """A request that was authenticated and validated."""
    progress = Progress("req_1", Operation.CHAT)
    progress.principal, progress.call, progress.attempts = Principal("team", "ci"), CALL, 1
    return progress


def ended(progress: Progress, deployment: Deployment, usage: Usage, outcome: Outcome = Outcome.OK) -> None:
    """The request has been settled."""
    progress.exposed, progress.usage, progress.outcome = True, usage, outcome
    progress.charge = progress.earlier.plus(charged(CALL, deployment, usage))


def test_a_request_is_opened_at_its_bound_and_closed_as_it_was() -> None:
    """Names, prices and tokens; the charge that follows is the one that it was settled at."""
    journal = Journal()
    ledger, progress = Ledger(journal), request()
    assert ledger.open(CALL, Arm.STABLE, ONE, progress) is None
    ended(progress, ONE, Usage(30, 20))
    assert ledger.close(progress) is None
    opened, closed = (decode(*record[1:]) for record in journal.told)
    assert (opened.method, opened.input_tokens, opened.output_tokens) == ("bound", 200, 50)
    assert opened.charged == charged(CALL, ONE, Usage(200, 50, method=Method.BOUND))
    assert (closed.tenant, closed.key, closed.model, closed.deployment) == ("team", "ci", "chat", "one")
    assert (closed.outcome, closed.method, closed.charged) == ("ok", "exact", progress.charge)
    assert closed.prices == ONE.price
    assert closed.at == opened.at > 1_700_000_000
    assert len(journal.told[1][2]) == SHORT.size


def test_without_a_journal_the_bound_is_known_and_nothing_is_told() -> None:
    """Operators may do without a ledger; what an upstream reports beyond its bound is still noticed."""
    ledger, progress = Ledger(None), request()
    assert ledger.open(CALL, Arm.STABLE, ONE, progress) is None
    assert progress.bound == (200, 50)
    progress.reached = True
    ledger.open(CALL, Arm.FALLBACK, TWO, progress)
    assert progress.earlier == charged(CALL, ONE, Usage(200, 50, method=Method.BOUND))
    ended(progress, TWO, Usage(30, 20))
    assert ledger.close(progress) is None


def test_an_attempt_after_a_refused_one_is_not_told_again() -> None:
    """Nothing new can be billed."""
    journal = Journal()
    ledger, progress = Ledger(journal), request()
    ledger.open(CALL, Arm.STABLE, ONE, progress)
    ledger.open(CALL, Arm.STABLE, ONE, progress)
    assert len(journal.told) == 1


def test_an_attempt_after_one_that_may_be_billed_carries_its_bound() -> None:
    """Also where the next one goes elsewhere, at other prices."""
    journal = Journal()
    ledger, progress = Ledger(journal), request()
    ledger.open(CALL, Arm.STABLE, ONE, progress)
    progress.reached = True
    ledger.open(CALL, Arm.FALLBACK, TWO, progress)
    ended(progress, TWO, Usage(30, 20))
    ledger.close(progress)
    first, second, closed = (decode(*record[1:]) for record in journal.told)
    assert second.charged == first.charged.plus(charged(CALL, TWO, Usage(200, 50, method=Method.BOUND)))
    assert (second.deployment, second.arm) == ("two", "fallback")
    assert closed.charged == progress.charge
    assert Charge(closed.earlier_tokens, closed.earlier_nano) == first.charged


def test_a_stream_that_brought_nothing_may_be_billed_its_allowance() -> None:
    """It was cancelled at once: not its whole bound."""
    journal = Journal()
    ledger, progress = Ledger(journal), request()
    progress.call = call = CALL._replace(stream=True)
    ledger.open(call, Arm.STABLE, ONE, progress)
    progress.reached = True
    ledger.open(call, Arm.STABLE, ONE, progress)
    assert progress.earlier.tokens == 200 + 16


def test_what_no_upstream_can_have_seen_is_taken_back() -> None:
    """Its close has no numbers; a request that was never opened has no close."""
    journal = Journal()
    ledger, progress = Ledger(journal), request()
    ledger.close(progress)
    ledger.open(CALL, Arm.STABLE, ONE, progress)
    progress.usage = Usage(0, 0, method=Method.NOTHING_SENT)
    ledger.close(progress)
    assert [record[:3] for record in journal.told][1] == ("close", "req_1", b"")


def test_usage_beyond_the_bound_is_told_apart() -> None:
    """Absurd numbers too: nothing breaks at the end of a request."""
    for made, most in ((60, 60), (10**30, MOST)):
        journal = Journal()
        ledger, progress = Ledger(journal), request()
        ledger.open(CALL, Arm.STABLE, ONE, progress)
        ended(progress, ONE, Usage(220, made))
        ledger.close(progress)
        closed = decode(*journal.told[1][1:])
        assert closed.output_tokens == most
        assert closed.overage_tokens == min(220 + most - 250, MOST)


def test_a_bound_of_any_size_is_told() -> None:
    """Many answers of a very long model: more tokens than the short record has room for."""
    journal = Journal()
    Ledger(journal).open(CALL._replace(choices=10**9), Arm.STABLE, ONE, request())
    assert decode(*journal.told[0][1:]).output_tokens == 50 * 10**9


def test_a_journal_that_cannot_be_written_refuses_the_request() -> None:
    """503, and come again."""
    journal = Journal()
    journal.fails = True
    progress = request()
    with pytest.raises(GatewayError) as refused:
        Ledger(journal).open(CALL, Arm.STABLE, ONE, progress)
    assert (refused.value.status, refused.value.retry_after) == (503, 1.0)
    assert progress.detail == "no room"
