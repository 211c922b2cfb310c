"""The house's own rules, each a function from a syntax tree to the nodes that break it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef

BROAD = {"Exception", "BaseException"}
STARTERS = {"create_task", "ensure_future", "run_coroutine_threadsafe"}
SOCKETS = {"create_connection", "create_unix_connection", "open_connection", "open_unix_connection", "sock_connect"}
SUPPRESSION = re.compile(r"# (?:noqa:[ A-Z0-9,]+|type: ignore\[[\w, -]+\])(?P<reason>.*)")
PROTOCOL_METHODS = 3
SKIPS = {"importorskip", "skip", "skipif", "skipIf", "skipTest", "skipUnless", "xfail"}
CLIENTS = {"ftplib", "http.client", "requests", "smtplib", "telnetlib", "urllib.request"}


def _called(node: ast.AST) -> str:
    """The last name of what a call calls; empty for anything else."""
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name
    return ""


def _names(node: ast.expr | None) -> set[str]:
    """The plain names in an expression."""
    return set() if node is None else {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _decorators(function: Function) -> set[str]:
    return {name for decorator in function.decorator_list for name in _names(decorator)}


def inner_imports(tree: ast.Module) -> Iterator[ast.AST]:
    """Imports inside functions: they hide a dependency from whoever reads the head of the file."""
    for function in (node for node in ast.walk(tree) if isinstance(node, Function)):
        yield from (node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom))


def broad_excepts(tree: ast.Module) -> Iterator[ast.AST]:
    """Handlers that keep every error: a bug becomes silence. To clean up and raise again is fine."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or _names(node.type) & BROAD
            if broad and not isinstance(node.body[-1], ast.Raise):
                yield node
        elif isinstance(node, ast.Call) and _called(node) == "suppress":
            yield from (node for argument in node.args if _names(argument) & BROAD)


def task_starts(tree: ast.Module) -> Iterator[ast.AST]:
    """Tasks begun past the wrapper that names, keeps and reports them."""
    return (node for node in ast.walk(tree) if _called(node) in STARTERS)


def socket_openings(tree: ast.Module) -> Iterator[ast.AST]:
    """Connections opened, or clients imported that open them."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if {name.name for name in names} & CLIENTS:
                yield node
            case ast.ImportFrom(module=str(module), names=names):
                if {module, *(f"{module}.{name.name}" for name in names)} & CLIENTS:
                    yield node
            case _ if _called(node) in SOCKETS:
                yield node


def wide_protocols(tree: ast.Module) -> Iterator[ast.AST]:
    """Protocols with more than three methods, properties apart: implementing one would mean to be several things."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef) or not any("Protocol" in _names(base) for base in node.bases):
            continue
        methods = [part for part in node.body if isinstance(part, Function) and "property" not in _decorators(part)]
        if len(methods) > PROTOCOL_METHODS:
            yield node


def skips(tree: ast.Module) -> Iterator[ast.AST]:
    """Tests that are not run, or may fail: what is not checked is not kept."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in SKIPS)


def bare_suppressions(source: str) -> Iterator[int]:
    """Lines whose `noqa` or `type: ignore` gives no reason behind the code."""
    for number, line in enumerate(source.splitlines(), start=1):
        if (found := SUPPRESSION.search(line)) and not re.search(r"\w", found["reason"]):
            yield number
