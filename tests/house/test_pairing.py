"""tests/ mirrors app/ file for file, so that everybody knows where a test is and where one is missing."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.house.tree import python_files, syntax, text

APART = {
    "budgets": "whether budgets hold under every interleaving",
    "grafana": "about grafana/ and deploy/prometheus",
    "house": "about the repository itself",
    "journeys": "whole journeys through the running gateway",
    "loadtests": "mirrors loadtests/",
    "scripts": "mirrors scripts/",
    "support": "what tests share",
    "upstream": "the fake upstream and its own tests",
    "vllm": "against the real thing",
}


def place_of_test(source: Path) -> Path:
    """Where the test of a file under app/ belongs."""
    return Path("tests", *source.parts[1:-1], f"test_{source.name}")


def place_of_source(test: Path) -> Path:
    """The file under app/ that a test belongs to."""
    return Path("app", *test.parts[1:-1], test.name.removeprefix("test_"))


def sources() -> list[Path]:
    """Files of the gateway with something in them; packages are tested by their files."""
    return [path for path in python_files("app") if path.name != "__init__.py"]


def mirrored_tests() -> list[Path]:
    """Test files outside the folders that stand apart."""
    return [path for path in python_files("tests") if path.name.startswith("test_") and path.parts[1] not in APART]


def test_every_source_file_has_its_test_file() -> None:
    """No file of the gateway is without a test file of its own."""
    assert not [str(place_of_test(path)) for path in sources() if place_of_test(path) not in set(python_files("tests"))]


def test_every_test_file_has_its_source_file() -> None:
    """A test file whose subject was moved or deleted moves or goes too."""
    assert not [str(path) for path in mirrored_tests() if place_of_source(path) not in set(sources())]


def test_every_test_file_holds_tests() -> None:
    """An empty file would satisfy the pairing and nobody else."""
    assert not [str(path) for path in mirrored_tests() if "def test_" not in text(path)]


def test_packages_hold_no_code() -> None:
    """An __init__.py says what its package is for and what it offers; code there would escape the pairing."""
    harmless = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign)
    inits = [path for path in python_files("app") if path.name == "__init__.py"]
    assert not [str(path) for path in inits if not all(isinstance(node, harmless) for node in syntax(path).body)]
