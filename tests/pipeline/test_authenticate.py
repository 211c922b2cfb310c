"""Who calls: the credentials of a request to a principal, or `invalid_api_key`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import INVALID_API_KEY, GatewayError, Outcome
from app.pipeline.authenticate import authenticate
from app.table import ANONYMOUS
from tests.pipeline.parts import table
from tests.support.configs import ENVIRON, REMOVED

KEY = ENVIRON["SLUICEGATE_CI_KEY"].encode()
KEYED = table()
OPEN = table({"tenants": REMOVED})


@pytest.mark.parametrize("credentials", [(KEY,), (KEY, KEY), (KEY, KEY, KEY)])
def test_a_known_key_is_its_holder(credentials: tuple[bytes, ...]) -> None:
    """Also when several headers carry the same one."""
    principal = authenticate(KEYED, credentials)
    assert (principal.tenant, principal.key) == ("team", "ci")


@pytest.mark.parametrize(
    "credentials",
    [(), (b"",), (b"sk-unknown",), (KEY + b" ",), (KEY[:-1],), (KEY.upper(),), (KEY, b"other"), (b"other", KEY)],
)
def test_anything_else_is_refused(credentials: tuple[bytes, ...]) -> None:
    """None, an unknown one, nearly the right one, and two that contradict each other, whichever comes first."""
    with pytest.raises(GatewayError) as refused:
        authenticate(KEYED, credentials)
    assert (refused.value.code, refused.value.status) == (INVALID_API_KEY, 401)
    assert refused.value.outcome is Outcome.REFUSED_AUTH


def test_what_was_shown_is_not_repeated() -> None:
    """A message may be logged; a mistyped key is still nearly a key."""
    with pytest.raises(GatewayError) as refused:
        authenticate(KEYED, (b"sk-ci-0123456788",))
    assert "0123456788" not in refused.value.message


@given(st.lists(st.binary(max_size=80), max_size=4).map(tuple))
def test_no_bytes_are_a_key_by_accident(credentials: tuple[bytes, ...]) -> None:
    """Whatever a header holds, it is refused and nothing else is raised."""
    with pytest.raises(GatewayError):
        authenticate(KEYED, credentials)


@pytest.mark.parametrize("credentials", [(), (b"whatever",)])
def test_without_tenants_everybody_is_anonymous(credentials: tuple[bytes, ...]) -> None:
    """A gateway on a loopback address may have no keys; SDKs send one all the same."""
    assert authenticate(OPEN, credentials) is ANONYMOUS
