"""The image gets what the gateway needs, pinned as in the lock, and nothing of the tests'."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

from scripts.runtime_lock import entries, runtime

LOCK = Path("requirements.lock").read_text()
SAMPLE = """alpha==1.0 \\
    --hash=sha256:aa
    # via sluicegate (pyproject.toml)
beta[extra]==2.0 ; sys_platform == 'linux' \\
    --hash=sha256:bb
    # via
    #   alpha
    #   delta
gamma==3.0 \\
    --hash=sha256:cc
    # via beta
delta==4.0 \\
    --hash=sha256:dd
    # via sluicegate (pyproject.toml:dev)
epsilon==5.0 \\
    --hash=sha256:ee
    # via delta
"""


def test_a_package_is_there_for_whoever_asks_for_it() -> None:
    """For the project, or for one that is there; what only the tests' packages ask for is not."""
    assert list(entries(runtime(SAMPLE))) == ["alpha", "beta", "gamma"]


def test_every_dependency_of_the_gateway_is_there_and_no_tool_is() -> None:
    """As the project declares them; each entry keeps its hashes."""
    found = entries(runtime(LOCK))
    declared = tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]
    assert {Requirement(one).name.lower() for one in declared} <= found.keys()
    assert not {"pytest", "mypy", "ruff", "opentelemetry-proto", "hypothesis"} & found.keys()
    assert all("--hash=sha256:" in entry for entry in found.values())
