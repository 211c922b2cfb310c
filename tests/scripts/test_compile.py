"""What is compiled, what must not be, and that a compiled module gives way to an edited source.

The tests that are slow need a C compiler.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.compiled import SOURCES, fingerprint, look
from scripts.compile import HOT, NOT, CannotCompileError, beyond, compile_into, modules
from tests.house.tree import ROOT, python_files, syntax

COMPILED = set(modules(ROOT))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A package `app` of two modules, one of which knows a constant of the other, and what chooses between them."""
    app = tmp_path / "app"
    app.mkdir()
    for name in ("__init__.py", "compiled.py"):
        shutil.copy(SOURCES / name, app)
    (app / "one.py").write_text("from typing import Final\nANSWER: Final = 41\n")
    (app / "two.py").write_text(
        "from app.one import ANSWER\n\n\ndef answer() -> int:\n    'It.'\n    return ANSWER + 1\n"
    )
    return tmp_path


def tell(checkout: Path) -> str:
    """What a process of its own makes of the package, whose compiled modules lie beside it."""
    code = (
        "import sys; sys.prefix = sys.argv[1]; import app.compiled, app.two;"
        "print(app.compiled.state(), app.two.answer(), app.two.__spec__.origin.endswith('.py'))"
    )
    command = [sys.executable, "-c", code, str(checkout)]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_edited_source_wins_over_what_was_compiled(checkout: Path) -> None:
    """At once, also where the edited one is only known to the compiled one; compiled anew, it is used again."""
    folder, files = checkout / "sluicegate-compiled", [Path("app/one.py"), Path("app/two.py")]
    assert tell(checkout) == "no 42 True"
    compile_into(folder, checkout, files[1:])
    assert tell(checkout) == "yes 42 False"
    (checkout / "app" / "one.py").write_text("from typing import Final\nANSWER: Final = 1\n")
    assert tell(checkout) == "outdated 2 True"
    compile_into(folder, checkout, files)
    assert tell(checkout) == "yes 2 False"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_what_does_not_compile_is_told_and_leaves_what_is_there(checkout: Path) -> None:
    """In a line; what was compiled before stays, and is outdated."""
    folder = checkout / "sluicegate-compiled"
    compile_into(folder, checkout, [Path("app/two.py")])
    (checkout / "app" / "two.py").write_text("def answer() -> int:\n    return 'a'\n")
    with pytest.raises(CannotCompileError, match=r"^mypyc: app/two.py:2: error: .*$"):
        compile_into(folder, checkout, [Path("app/two.py")])
    assert look(folder, checkout / "app") == ("outdated", [])


def test_a_machine_without_a_compiler_is_told(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is changed."""
    monkeypatch.setenv("PATH", str(checkout))
    before = fingerprint(checkout / "app")
    with pytest.raises(CannotCompileError, match="there is no C compiler"):
        compile_into(checkout / "sluicegate-compiled", checkout, [Path("app/two.py")])
    assert fingerprint(checkout / "app") == before
    assert not (checkout / "sluicegate-compiled").exists()


def test_every_name_stands_for_a_file() -> None:
    """A module that was moved or renamed is not forgotten here."""
    assert not [name for name in (*HOT, *NOT) if not list((ROOT / "app").glob(f"{name}.py"))]


def test_nothing_that_is_interpreted_inherits_from_what_is_compiled() -> None:
    """Python would say so at the first instance only, which may be a caller's request."""
    assert not [
        f"{path}: {node.name}({ast.unparse(base)})"
        for path in set(python_files("app", "loadtests", "scripts")) - COMPILED
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if _home_of(base, path) in COMPILED
    ]


def test_nothing_compiled_is_fastapis_or_pydantics() -> None:
    """Both look into functions and classes, and would not find what they look for."""
    modules_of = {path: _imported(path) for path in COMPILED}
    assert not [str(path) for path, names in modules_of.items() if names & {"fastapi", "pydantic", "starlette"}]


def test_no_attribute_becomes_a_word_of_c() -> None:
    """mypyc puts an underscore before an attribute's name: `_thread` becomes C's `__thread`, and does not compile."""
    reserved = {"_thread", "_asm", "_inline", "_const", "_signed", "_volatile", "_typeof", "_attribute", "_restrict"}
    assert not [
        f"{path}:{node.lineno} {node.attr}"
        for path in COMPILED
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Attribute) and node.attr in reserved
    ]


def test_class_attributes_say_that_they_are() -> None:
    """mypyc takes others for defaults of instances, and what is assigned to the class later is never seen."""
    assert not [
        f"{path}: {node.name}.{ast.unparse(line)}"
        for path in COMPILED
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.ClassDef) and _ordinary(node)
        for line in node.body
        if (isinstance(line, ast.Assign) and not ast.unparse(line.targets[0]).startswith("__"))
        or (isinstance(line, ast.AnnAssign) and line.value and not ast.unparse(line.annotation).startswith("ClassVar"))
    ]


@pytest.mark.parametrize(
    ("body", "is_beyond"),
    [
        ("try:\n  pass\n finally:\n  await x()", True),
        ("try:\n  pass\n finally:\n  async with x: pass", True),
        ("yield 1", True),
        ("try:\n  await x()\n finally:\n  x()", False),
        ("try:\n  await x()\n except E:\n  x()", False),
        ("try:\n  x()\n except E:\n  await x()", True),
        ("try:\n  x()\n except E:\n  if x:\n   async for y in x: pass", True),
        ("try:\n  x()\n except E:\n  x()\n else:\n  await x()", False),
        ("with x:\n  await x()", False),
        ("async with x: pass", True),
        ("async with asyncio.timeout(1), x: pass", True),
        ("async with asyncio.timeout(1): await x()", False),
        ("async with asyncio.timeout_at(when(1)): await x()", False),
    ],
)
def test_what_mypyc_cannot_is_seen(body: str, *, is_beyond: bool) -> None:
    """Asynchronous generators, and waiting while an exception is being handled."""
    assert beyond(ast.parse(f"async def f():\n {body}\n")) is is_beyond


def test_a_generator_hands_nothing_out_while_it_handles_an_exception() -> None:
    """It stands still there as a coroutine does."""
    assert beyond(ast.parse("def f():\n try:\n  x()\n except E:\n  yield 1\n"))
    assert not beyond(ast.parse("def f():\n try:\n  yield 1\n except E:\n  x()\n"))


def test_no_generator_counts_on_being_closed() -> None:
    """One that is compiled and left before its end never gets to its `finally`, nor out of its `with`."""
    assert not [
        f"{path}:{node.lineno} {node.name}"
        for path in COMPILED
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.FunctionDef)
        for block in ast.walk(node)
        if isinstance(block, ast.With) or (isinstance(block, ast.Try) and block.finalbody)
        for line in block.body
        if any(isinstance(inner, ast.Yield | ast.YieldFrom) for inner in ast.walk(line))
    ]


def test_everything_hot_is_compiled() -> None:
    """A change that mypyc cannot follow would make the path slower, and say nothing."""
    wanted = {path.relative_to(ROOT) for name in HOT for path in (ROOT / "app").glob(f"{name}.py")}
    left_out = {Path("app", f"{name}.py") for name in NOT}
    assert {path for path in wanted - left_out if path.name != "__init__.py"} == COMPILED


def _ordinary(node: ast.ClassDef) -> bool:
    bases = {ast.unparse(base).partition("[")[0] for base in node.bases}
    decorators = {ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list}
    return not bases & {"NamedTuple", "StrEnum", "Enum", "IntEnum", "Protocol", "TypedDict"} | decorators & {
        "dataclass"
    }


def _imported(path: Path) -> set[str]:
    nodes = [node for node in ast.walk(syntax(path)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def _home_of(base: ast.expr, path: Path) -> Path | None:
    """The file that a base class comes from, as far as the imports of `path` tell."""
    name = ast.unparse(base).partition("[")[0].rpartition(".")[0] or ast.unparse(base).partition("[")[0]
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.ImportFrom):
            for one in node.names:
                if (one.asname or one.name) == name:
                    module = f"{node.module}.{one.name}" if "." in ast.unparse(base) else str(node.module)
                    return Path(*module.split(".")).with_suffix(".py")
    return None
