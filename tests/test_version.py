"""One version, stated once."""

from __future__ import annotations

import tomllib

from app.version import VERSION
from tests.support.upstream import ROOT


def test_the_version_is_the_projects() -> None:
    """What is installed here is this checkout."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


def test_the_changelog_tells_of_it() -> None:
    """A release without a word about it is none."""
    assert VERSION in (ROOT / "CHANGELOG.md").read_text() or "Unreleased" in (ROOT / "CHANGELOG.md").read_text()
