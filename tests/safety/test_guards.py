"""Guards are compiled once for a configuration; requests under way keep theirs."""

from __future__ import annotations

from app.safety.guards import Guards
from tests.support.configs import loaded


def settings(term: str) -> list[object]:
    """Changes that make one guard."""
    return [{"name": "default", "blocklist": [term], "prompt": {"detectors": ["rules"]}}]


def test_a_policy_is_handed_out_for_its_settings() -> None:
    """The same each time; that of the configuration before stays until the next."""
    one, two = (loaded({"guards": settings(term)}).guards for term in ("first", "second"))
    guards = Guards(one)
    policy = guards.of(one[0], "team")
    guards.prepare(two)
    assert guards.of(one[0], "team") is policy
    assert guards.of(two[0], "team") is not policy
    assert guards.of(two[0], "team") is guards.of(two[0], "others")


def test_settings_that_nobody_prepared_are_compiled_on_the_spot() -> None:
    """A table that was made by other means works all the same."""
    (one,) = loaded({"guards": settings("first")}).guards
    assert Guards().of(one, "team").name == "default"


def test_an_exemption_is_a_policy_of_its_own() -> None:
    """For its tenant."""
    guard = {
        "name": "default",
        "prompt": {"detectors": ["pii"]},
        "exemptions": [{"tenant": "team", "actions": {"pii": "log"}}],
    }
    guards = loaded({"guards": [guard]}).guards
    compiled = Guards(guards)
    assert compiled.of(guards[0], "team") is not compiled.of(guards[0], "others")
