"""Codes are declared once, are those of the contract, and every refusal knows its status and outcome."""

from __future__ import annotations

import pytest

from app import errors
from app.errors import (
    CODES,
    INVALID_REQUEST,
    RATE_LIMIT_EXCEEDED,
    Code,
    Failure,
    GatewayError,
    Outcome,
    UpstreamFailure,
)

CONTRACT = {
    "invalid_api_key": 401, "model_not_allowed": 403, "model_not_found": 404, "invalid_request": 400,
    "request_too_large": 413, "context_length_exceeded": 400, "content_filter": 400, "rate_limit_exceeded": 429,
    "budget_exceeded": 429, "overloaded": 503, "upstream_error": 502, "upstream_timeout": 504,
}  # fmt: skip
OUTCOMES = {
    "ok", "client_closed", "refused_auth", "refused_invalid", "refused_limit", "refused_budget", "refused_guard",
    "cut_guard", "upstream_rejected", "upstream_error", "upstream_timeout", "overloaded", "internal_error",
}  # fmt: skip


def test_the_contracts_codes_have_its_statuses() -> None:
    """Programs rely on both."""
    assert {name: CODES[name].status for name in CONTRACT} == CONTRACT


def test_outcomes_are_those_of_the_contract() -> None:
    """Dashboards and alerts name them."""
    assert {outcome.value for outcome in Outcome} == OUTCOMES


def test_every_declared_code_is_in_the_list() -> None:
    """Under its own name, told what it means, and no name is used twice."""
    declared = [value for value in vars(errors).values() if isinstance(value, Code)]
    assert [CODES[code.name] for code in declared] == declared
    assert len(CODES) == len(declared)
    assert all(code.meaning.endswith(".") for code in declared)


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.name)
def test_outcome_and_status_agree(code: Code) -> None:
    """Whose fault it is can be told from either: the caller's below 500, ours or the upstream's above."""
    ours = {Outcome.OVERLOADED, Outcome.UPSTREAM_ERROR, Outcome.UPSTREAM_TIMEOUT, Outcome.INTERNAL_ERROR}
    assert (code.status >= 500) is (code.outcome in ours)
    assert code.outcome not in {Outcome.OK, Outcome.CLIENT_CLOSED}


def test_an_error_is_its_codes_unless_told_otherwise() -> None:
    """Status, outcome, type and code name come from the code, each can be an upstream's."""
    plain = GatewayError(RATE_LIMIT_EXCEEDED, "Later.", retry_after=2.5)
    assert (plain.status, plain.outcome, plain.retry_after) == (429, Outcome.REFUSED_LIMIT, 2.5)
    theirs = GatewayError(
        INVALID_REQUEST, "No.", status=422, outcome=Outcome.UPSTREAM_REJECTED, error_type="BadRequest", code_name="42"
    )
    assert (theirs.status, theirs.outcome) == (422, Outcome.UPSTREAM_REJECTED)
    assert theirs.document()["error"] == {"message": "No.", "type": "BadRequest", "param": None, "code": "42"}


def test_an_error_in_openais_shape() -> None:
    """Exactly four fields."""
    error = GatewayError(INVALID_REQUEST, "Wrong.", param="messages[0]")
    shown = {"message": "Wrong.", "type": "invalid_request_error", "param": "messages[0]", "code": "invalid_request"}
    assert error.document() == {"error": shown}
    assert str(error) == "Wrong."


def test_an_upstreams_failure_tells_operators_what_was_seen() -> None:
    """What kind, the detail, and whether it may have been billed."""
    failure = UpstreamFailure(Failure.TRUNCATED, "after 7 bytes", sent=True)
    assert (str(failure), failure.sent) == ("truncated: after 7 bytes", True)
    assert {one for one in Failure if one.value.endswith("timeout")} == errors.TIMEOUTS
