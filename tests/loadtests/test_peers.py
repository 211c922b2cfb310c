"""Peers that are not installed say how to install them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtests.peers import ALL
from loadtests.peers.base import REPOSITORY, Site
from loadtests.peers.sluicegate import Served, config
from tests.support.configs import problems_of


def test_every_peer_says_who_it_is() -> None:
    """Its key is its name, and its note says how it is set up."""
    assert all(peer.name == name and peer.note for name, peer in ALL.items())


def test_direct_needs_nothing(tmp_path: Path) -> None:
    """Its port is the upstream's."""
    setup = ALL["direct"].setup(Site(1, 2, tmp_path))
    assert (ALL["direct"].absent(), setup.launch, setup.port) == (None, None, 2)


@pytest.mark.parametrize("name", ["vllm-router", "portkey", "litellm"])
def test_what_is_missing_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the script that installs it, which knows the name."""
    monkeypatch.setattr(Path, "exists", lambda _: False)
    reason = ALL[name].absent()
    assert reason in {f"not installed: scripts/peers/setup.sh {name}", "node is not installed"}
    assert f"setup_{name}()" in (REPOSITORY / "scripts/peers/setup.sh").read_text()


def test_what_the_gateway_is_given_is_a_valid_configuration() -> None:
    """As `sluicegate check` would say."""
    document = config(8080, 9090, [Served("a", 1, "answer-1"), Served("b", 2, "answer-2")])
    assert not problems_of(json.dumps(document), environ={"SLUICEGATE_LOAD_KEY": "sk-load-0123456789"})
