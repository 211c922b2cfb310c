"""The files of the repository as the house's tests see them: what a clone holds, and nothing that was made in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MADE_HERE = {"__pycache__", "dist", "node_modules", "spool"}
KEPT_HIDDEN = {".ci", ".dockerignore", ".gitignore"}


@cache
def files() -> tuple[Path, ...]:
    """Every file that belongs to the repository, relative to its root."""
    return tuple(sorted(path.relative_to(ROOT) for path in _walk(ROOT)))


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in MADE_HERE or (path.name.startswith(".") and path.name not in KEPT_HIDDEN):
            continue
        if path.is_dir():
            yield from _walk(path)
        elif path.suffix not in {".db", ".pyc"}:
            yield path


def python_files(*folders: str) -> tuple[Path, ...]:
    """The Python files under these top-level folders."""
    return tuple(path for path in files() if path.suffix == ".py" and path.parts[0] in folders)


def markdown_files() -> tuple[Path, ...]:
    """Every page of documentation."""
    return tuple(path for path in files() if path.suffix == ".md")


@cache
def text(path: Path) -> str:
    """A file's text; `path` is relative to the root."""
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def syntax(path: Path) -> ast.Module:
    """A Python file's syntax tree; `path` is relative to the root."""
    return ast.parse(text(path), filename=str(path))
