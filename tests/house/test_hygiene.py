"""Nothing of one machine, one workplace or one registry stands in the repository's files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.house.tree import files, text

REGISTRIES = (
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "npmjs" + ".org",
    "npmjs" + ".com",
    "/simple" + "/",
    "index" + "-url =",
)
LOCAL_PATH = re.compile(r"(?<![\w.~$}*])/(?:work|root|home/\w+|Users/\w+)/[\w.]")
SECRET = re.compile(r"\b(?:sk-[A-Za-z0-9]{32,}|AKIA[0-9A-Z]{16}|ghp_[A-Za-z0-9]{36})\b|-----BEGIN [A-Z ]*PRIVATE KEY")
BINARY = {".gz", ".npz", ".onnx", ".png", ".svg"}


def offenders(pattern: re.Pattern[str]) -> list[str]:
    """Every line of a text file in which the pattern is found, as `file:line`."""
    return [
        f"{path}:{number}: {line.strip()[:100]}"
        for path in files()
        if path.suffix not in BINARY
        for number, line in enumerate(text(path).splitlines(), start=1)
        if pattern.search(line)
    ]


def test_no_file_names_a_package_registry() -> None:
    """Which index or mirror is used is the machine's business."""
    assert not offenders(re.compile("|".join(map(re.escape, REGISTRIES))))


def test_no_file_names_a_path_of_somebody_s_machine() -> None:
    """Paths are relative to the checkout, or temporary."""
    assert not offenders(LOCAL_PATH)


def test_no_file_holds_a_credential() -> None:
    """Keys in examples look invented, because they are."""
    assert not offenders(SECRET)


@pytest.mark.parametrize("line", ["see /roo" + "t/notes.txt", "open('/hom" + "e/ann/x')", "path=/wor" + "k/main"])
def test_a_local_path_is_found(line: str) -> None:
    """At the start of a word, in quotes, behind an equals sign."""
    assert LOCAL_PATH.search(line)


@pytest.mark.parametrize("line", ["GET /v1/root/x", "./root/x", "~/root/x", "https://host/home/ann/"])
def test_what_only_looks_like_a_local_path_is_not_found(line: str) -> None:
    """URLs and relative paths go through."""
    assert not LOCAL_PATH.search(line)


def test_scripts_are_where_git_keeps_them() -> None:
    """No file of an editor, a build or a run was added by hand."""
    assert not [str(path) for path in files() if path.suffix in {".bak", ".log", ".orig", ".rej", ".swp"}]


def test_what_is_made_here_is_ignored() -> None:
    """Environments, caches and uv's own lock (which records addresses) stay out of the repository."""
    ignored = set(text(Path(".gitignore")).split())
    assert ignored >= {".venv/", ".uv/", ".vllm/", ".peers/", "uv.lock", "pylock.toml", "__pycache__/", "/dist/"}
