"""Budgets on the size of files and functions: they stop the tail from growing before anybody noticed that it does."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median, quantiles

from tests.house.tree import python_files, syntax, text

FILE_MEDIAN, FILE_P90, FILE_CAP = 150, 350, 500
FUNCTION_MEDIAN, FUNCTION_CAP = 10, 60

Function = ast.FunctionDef | ast.AsyncFunctionDef


def lines_of(function: Function) -> int:
    """Lines from `def` to the last statement; the docstring costs nothing."""
    docstring = function.body[0] if ast.get_docstring(function, clean=False) is not None else None
    undocumented = 0 if docstring is None else (docstring.end_lineno or 0) - docstring.lineno + 1
    return (function.end_lineno or 0) - function.lineno + 1 - undocumented


def functions(path: Path) -> dict[str, int]:
    """Lines by place and name, of every function in a file."""
    nodes = (node for node in ast.walk(syntax(path)) if isinstance(node, Function))
    return {f"{path}:{node.lineno} {node.name}": lines_of(node) for node in nodes}


def file_lines(*folders: str) -> dict[str, int]:
    """Lines by file; an empty __init__.py is no file to speak of."""
    return {str(path): len(text(path).splitlines()) for path in python_files(*folders) if text(path).strip()}


def over(sizes: dict[str, int], cap: int) -> dict[str, int]:
    """Those above the cap."""
    return {name: size for name, size in sizes.items() if size > cap}


def test_lines_of_a_function_leave_its_docstring_out() -> None:
    """The yardstick itself: decorators and the docstring do not count, nested functions do."""
    source = '@once\ndef outer():\n    """Two\n    lines."""\n    def inner():\n        return 1\n    return inner\n'
    outer, inner = (node for node in ast.walk(ast.parse(source)) if isinstance(node, Function))
    assert (lines_of(outer), lines_of(inner)) == (4, 2)


def test_files_of_the_gateway_are_short() -> None:
    """Median, ninetieth percentile and cap over app/."""
    sizes = file_lines("app")
    assert not over(sizes, FILE_CAP)
    assert median(sizes.values()) <= FILE_MEDIAN
    assert quantiles(sizes.values(), n=10)[-1] <= FILE_P90


def test_files_beside_the_gateway_have_the_same_cap() -> None:
    """Tests, load tests and scripts are code too."""
    assert not over(file_lines("tests", "loadtests", "scripts"), FILE_CAP)


def test_functions_of_the_gateway_are_short() -> None:
    """Median and cap over app/."""
    sizes = {name: size for path in python_files("app") for name, size in functions(path).items()}
    assert not over(sizes, FUNCTION_CAP)
    assert median(sizes.values()) <= FUNCTION_MEDIAN


def test_functions_beside_the_gateway_have_the_same_cap() -> None:
    """A test that needs more than a screen tests more than one thing."""
    sizes = {
        name: size for path in python_files("tests", "loadtests", "scripts") for name, size in functions(path).items()
    }
    assert not over(sizes, FUNCTION_CAP)
