"""The house's own rules hold everywhere but where the lists below say so, and each rule finds what it is there for."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.house import rules
from tests.house.tree import python_files, syntax, text

Rule = Callable[[ast.Module], Iterator[ast.AST]]

TASK_STARTERS = {
    "app/api/server.py": "a request is a task of its connection, which keeps it",
    "app/tasks.py": "the wrapper for background tasks",
}
"""The files that may start an asyncio task, and what becomes of it."""

EDGES = {
    "app/cli.py": "the process's edge: a bug becomes a log line and exit code 1",
    "app/api/cycle.py": "a connection's edge: the request ends with it, and what went wrong is logged",
    "app/api/relay.py": "the HTTP edge: a bug becomes a 500 and a log line",
}
"""The files that may catch every error, and what they make of it."""

OPTIONAL: dict[str, str] = {
    "app/providers/vocabulary.py": "the vocabularies of the `tokenizers` extra",
    "app/safety/models/encoders.py": "the encoders of the `safety` extra, each loaded only where a profile has it",
}
"""The files that may import inside a function, and the optional dependency that they import."""

SOCKETS = {"app/providers/transport.py", "app/safety/models/client.py", "app/stores/line.py"}
"""The one file that opens connections to upstreams, the one to the detector process, and the one to Redis."""


def broken(rule: Rule, allowed: set[str], *folders: str) -> list[str]:
    """Every place that breaks a rule, as `file:line`."""
    return [
        f"{path}:{getattr(node, 'lineno', 0)}"
        for path in python_files(*folders)
        if str(path) not in allowed
        for node in rule(syntax(path))
    ]


def test_imports_stand_at_the_head_of_the_file() -> None:
    """Not inside functions, but for an optional dependency."""
    assert not broken(rules.inner_imports, set(OPTIONAL), "app", "tests", "loadtests")


def test_only_edges_catch_everything() -> None:
    """A broad `except` is for the HTTP edge and for background loops."""
    assert not broken(rules.broad_excepts, set(EDGES), "app")


def test_only_the_wrapper_starts_tasks() -> None:
    """Every background task has a name and an owner that ends it."""
    assert not broken(rules.task_starts, set(TASK_STARTERS), "app")


def test_only_the_transport_opens_sockets() -> None:
    """One place knows timeouts, pools, TLS and cancellation."""
    assert not broken(rules.socket_openings, SOCKETS, "app")


def test_protocols_are_narrow() -> None:
    """At most three methods."""
    assert not broken(rules.wide_protocols, set(), "app")


def test_no_test_is_skipped() -> None:
    """Nor expected to fail. What needs minutes or a real vLLM has a marker, and CI runs it."""
    assert not broken(rules.skips, set(), "tests")


def test_every_suppression_gives_its_reason() -> None:
    """`# noqa: RULE - why`: a rule that is off at one line has its reason beside it, like those in pyproject.toml."""
    found = [
        f"{path}:{n}"
        for path in python_files("app", "loadtests", "scripts")
        for n in rules.bare_suppressions(text(path))
    ]
    assert not found


@pytest.mark.parametrize("names", [set(TASK_STARTERS), set(EDGES), set(OPTIONAL), SOCKETS])
def test_exceptions_are_still_needed(names: set[str]) -> None:
    """A file that was moved or deleted leaves the lists above."""
    assert names <= {str(path) for path in python_files("app")}


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (rules.inner_imports, "def f():\n    import os"),
        (rules.inner_imports, "async def f():\n    if f:\n        from os import path"),
        (rules.broad_excepts, "try:\n    f()\nexcept:\n    pass"),
        (rules.broad_excepts, "try:\n    f()\nexcept (OSError, Exception) as error:\n    pass"),
        (rules.broad_excepts, "try:\n    f()\nexcept BaseException:\n    log(1)"),
        (rules.broad_excepts, "with contextlib.suppress(OSError, Exception):\n    f()"),
        (rules.task_starts, "asyncio.create_task(f())"),
        (rules.task_starts, "loop.create_task(f())"),
        (rules.task_starts, "ensure_future(f())"),
        (rules.wide_protocols, "class P(Protocol[T]):" + "\n    def f(self): ..." * 4),
        (rules.skips, "@pytest.mark.skipif(f)\ndef test(): ..."),
        (rules.skips, "pytest.skip('later')"),
        (rules.socket_openings, "import urllib.request"),
        (rules.socket_openings, "from urllib import request"),
        (rules.socket_openings, "from http.client import HTTPConnection"),
        (rules.socket_openings, "await loop.create_connection(f, 'h', 1)"),
        (rules.socket_openings, "await asyncio.open_connection('h', 1)"),
    ],
)
def test_each_rule_finds_what_breaks_it(rule: Rule, source: str) -> None:
    """One planted fault, one finding."""
    assert len(list(rule(ast.parse(source)))) == 1


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (rules.inner_imports, "import os\ndef f():\n    return os"),
        (rules.broad_excepts, "try:\n    f()\nexcept (OSError, KeyError):\n    pass"),
        (rules.broad_excepts, "try:\n    f()\nexcept BaseException:\n    close()\n    raise"),
        (rules.task_starts, "tasks.spawn('name', f())"),
        (
            rules.wide_protocols,
            "class P(Protocol):" + "\n    def f(self): ..." * 3 + "\n    @property\n    def g(self): ...",
        ),
        (rules.skips, "@pytest.mark.slow\ndef test(): ..."),
        (rules.socket_openings, "from urllib.parse import urlsplit\nimport http"),
    ],
)
def test_each_rule_lets_the_rest_pass(rule: Rule, source: str) -> None:
    """What looks alike and is right is not found."""
    assert not list(rule(ast.parse(source)))


def test_a_suppression_without_reason_is_found() -> None:
    """Only lines with neither word nor sentence behind the code."""
    mark = "# no" + "qa: "
    source = f"a  {mark}S101\nb  {mark}S101, S102 - the test's own\nc  # type: ignor" + "e[arg-type]\nd\n"
    assert list(rules.bare_suppressions(source)) == [1, 3]


def test_paths_are_compared_as_they_are_written() -> None:
    """The lists above name files with forward slashes, relative to the root."""
    assert Path("app/tasks.py") in python_files("app")
