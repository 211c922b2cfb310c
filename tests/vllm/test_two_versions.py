"""A rollout from one real vLLM server to another."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scripts.vllm.server import ROOT
from scripts.vllm.two_versions import WEIGHT, chance, journey, tell

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1500)]


def test_weighted_sticky_shadowed_promoted(tmp_path: Path) -> None:
    """Two versions of the small model behind one name; callers see answers only."""
    subprocess.run(["sh", "scripts/vllm/setup.sh", "--regressed"], cwd=ROOT, check=True)
    story = journey(tmp_path)
    tell(story)
    users = story.weighted.users
    assert all(len(arms) == 1 for arms in users.values())
    moved = sum(arms == {"candidate"} for arms in users.values())
    assert chance(moved, len(users), WEIGHT / 100) > 1e-4
    assert dict(story.weighted.statuses) == {200: 2 * len(users)}
    by_arm = story.weighted.makers
    assert not by_arm["stable"] & by_arm["candidate"]
    assert story.shadow["both_answered"] > 0
    assert story.shadow["similarity"]["mean"] < 0.9
    assert story.rollout["state"] == "promoted", story.rollout
    assert set(story.promoting.statuses) == {200}
    passed = [(line["event"], line["weight_after"]) for line in reversed(story.rollout["log"])]
    assert passed == [("start", 25), ("passed", 50), ("passed", 100), ("passed", 100)]
