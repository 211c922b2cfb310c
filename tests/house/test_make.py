"""The Makefile explains itself, and README, CI and Makefile speak of the same commands."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.house.tree import ROOT, markdown_files, text

MAKEFILE = text(Path("Makefile"))
TARGETS = re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE)
SCRIPT = re.compile(r"(?:loadtests|scripts)/[\w/]+\.(?:py|sh)")
MODULE = re.compile(r"-m ((?:loadtests|scripts)\.[\w.]+)")


def test_help_lists_every_target() -> None:
    """`make` alone does nothing but say what can be made."""
    shown = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^make ([a-z-]+) +\S", shown, re.MULTILINE) == TARGETS


def test_every_target_is_phony() -> None:
    """A file named `test` must not stop the tests."""
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert phony
    assert sorted(phony[1].split()) == sorted(TARGETS)


def test_every_script_that_make_calls_is_there() -> None:
    """A renamed script takes its target with it."""
    named = [*SCRIPT.findall(MAKEFILE), *(f"{name.replace('.', '/')}.py" for name in MODULE.findall(MAKEFILE))]
    assert named
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_every_make_command_in_the_docs_exists() -> None:
    """In code, inline or fenced, on any page."""
    named = {
        target
        for page in markdown_files()
        for target in re.findall(r"(?:`|^)make ([a-z][a-z-]*)\b", text(page), re.MULTILINE)
    }
    assert named
    assert named <= set(TARGETS)


def test_ci_runs_the_command_of_the_readme() -> None:
    """The README's second command is the test command, and CI begins with it."""
    assert re.search(r"^make test$", text(Path("README.md")), re.MULTILINE)
    assert re.search(r"^stage .* make test$", text(Path(".ci/run")), re.MULTILINE)


def test_ci_can_be_run() -> None:
    """It is executable as it is."""
    assert os.access(ROOT / ".ci/run", os.X_OK)
