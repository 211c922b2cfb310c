"""Compiles the hot modules with mypyc: `python -m scripts.compile`; says in a line what came of it.

Does nothing while what is there fits the sources (`app/compiled.py` says when it does). Needs the dev group of
pyproject.toml, a C compiler and Python's headers; takes eight minutes of CPU: GCC compiles twice, the second time
knowing what traffic passes. Where it cannot, or where
SLUICEGATE_PURE is set, the modules are interpreted: they do the same, for a fifth to a third more CPU.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mypyc.build import mypycify

from app.compiled import MANIFEST, PURE, fingerprint, home, look, place_of

ROOT = Path(__file__).resolve().parents[1]
GROUP = "sluicegate"
HOT = (
    *("cells", "entry", "errors", "exchange", "limits", "logs", "metering", "otlp", "outbox", "people", "prices"),
    "scaffolds",
    "scopes",
    *(
        "semconv",
        "table",
        "telemetry",
        "vigil",
        "api/answers",
        "api/arrivals",
        "api/chunks",
        "api/cycle",
        "api/heads",
        "api/hot",
        "api/relay",
        "api/server",
        "api/surface",
    ),
    *("api/messages/*", "api/responses/*", "pipeline/*", "providers/*", "providers/anthropic/*", "providers/gemini/*"),
    *(
        "safety/*",
        "stores/escrow",
        "stores/line",
        "stores/memory",
        "stores/redis",
        "stores/resp",
        "stores/spool",
        "stores/syncer",
    ),
)
"""Of app/, what a request passes; without what FastAPI looks into, and without what threads of our own run for long:
there mypyc's C gives the event loop few turns."""
NOT = {
    "api/messages/schemas": "pydantic's, which looks into classes",
    "api/responses/schemas": "the same",
    "providers/counter": "run in threads",
    "providers/general": "mypyc fails on `|=` at an attribute of an exception",
    "providers/vocabulary": "run in threads",
    **{f"providers/{name}": "cold" for name in ("collector", "engines", "health", "registry", "trust")},
}
_LEARN = ("-fprofile-generate", "-fprofile-update=atomic")
_LEARNT = ("-fprofile-use", "-fprofile-partial-training", "-fprofile-correction", "-Wno-missing-profile")
"""For GCC: have modules count which ways they go; lay them out by what they counted."""
_DIRECT = ("-fPIC", "-fvisibility=hidden", "-fno-semantic-interposition", "-fno-plt")
"""Calls among compiled modules go straight to what they call, not through a table that another library could alter."""
_WAITS = ast.Await | ast.AsyncFor | ast.AsyncWith | ast.Yield | ast.YieldFrom


class CannotCompileError(Exception):
    """Why, in a line."""


def modules(root: Path) -> list[Path]:
    """The files to compile, relative to `root`."""
    found = {path for name in HOT for path in (root / "app").glob(f"{name}.py") if path.name != "__init__.py"}
    found -= {root / "app" / f"{name}.py" for name in NOT}
    return sorted(path.relative_to(root) for path in found if not beyond(ast.parse(path.read_bytes())))


def beyond(tree: ast.Module) -> bool:
    """Whether a module holds what mypyc 2.4 cannot do, or does wrongly.

    It has no asynchronous generators. And it knows one exception being handled per thread, where Python knows one per
    coroutine: what waits inside `except` or `finally`, or where `async with` is left over an error, raises another
    request's error afterwards, or one that was handled long ago.
    """
    return any(
        (isinstance(node, ast.AsyncFunctionDef) and any(isinstance(inner, ast.Yield) for inner in ast.walk(node)))
        or (
            isinstance(node, ast.Try) and any(isinstance(e, _WAITS) for part in _handling(node) for e in ast.walk(part))
        )
        or (isinstance(node, ast.AsyncWith) and not all(_leaves_at_once(item.context_expr) for item in node.items))
        for node in ast.walk(tree)
    )


def _handling(node: ast.Try) -> Iterable[ast.stmt]:
    """What runs while an exception is being handled."""
    return [*(line for handler in node.handlers for line in handler.body), *node.finalbody]


def _leaves_at_once(manager: ast.expr) -> bool:
    """Whether an asynchronous context manager is known to be left without a wait."""
    return isinstance(manager, ast.Call) and ast.unparse(manager.func) in {"asyncio.timeout", "asyncio.timeout_at"}


def compile_into(
    folder: Path, root: Path, files: Iterable[Path], exercise: Callable[[Path], str] | None = None
) -> None:
    """Compile these files of the package `root/app`; `folder` holds all of it afterwards, or what it held before.

    `exercise` has modules that count themselves, compiled into the folder that it is given, do what is usual; from
    what they counted the C compiler learns what is hot. It returns why it could not, or nothing. Raises
    CannotCompileError.
    """
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        compiler = ["cc"]
    if shutil.which(compiler[0]) is None:
        raise CannotCompileError("there is no C compiler (Debian and Ubuntu: apt-get install gcc)")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise CannotCompileError("there are no headers of Python (Debian and Ubuntu: apt-get install python3-dev)")
    before = fingerprint(root / "app")
    with tempfile.TemporaryDirectory(prefix="sluicegate-compile-") as scratch, contextlib.chdir(root):
        made, tried, objects = (Path(scratch, name) for name in ("made", "tried", "objects"))
        extensions = _translate([str(file) for file in files], Path(scratch, "c"))
        learnt: tuple[str, ...] = ()
        if exercise is not None and _is_gcc(compiler):
            _build_all(extensions, [*compiler, *_LEARN], objects, tried, before)
            trouble = exercise(tried)
            learnt = () if trouble else _LEARNT
            if trouble:
                print(f"setup: compiled without knowing what is hot: {trouble}")
        _build_all(extensions, [*compiler, *learnt], objects, made, before)
        if fingerprint(root / "app") != before:
            raise CannotCompileError("a source has changed meanwhile")
        _replace(folder, made)


def _translate(files: list[str], folder: Path) -> list[Any]:
    """Python to C. mypyc ends the process over an error, having printed it."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            made: list[Any] = mypycify(
                files, opt_level="2", debug_level="0", multi_file=True, group_name=GROUP, target_dir=str(folder)
            )
    except SystemExit as error:
        errors = [line for line in said.getvalue().splitlines() if "error" in line] or [str(error)]
        raise CannotCompileError(f"mypyc: {errors[0]}") from error
    return made


def _is_gcc(compiler: list[str]) -> bool:
    said = subprocess.run([*compiler, "-v"], capture_output=True, text=True, check=False).stderr
    return "gcc version" in said


def _build_all(extensions: list[Any], compiler: list[str], objects: Path, made: Path, sources: str) -> None:
    """All extension modules, and the manifest that says of which sources they are made."""
    for extension in extensions:
        _build(extension, compiler, objects, place_of(made, extension.name))
    names = [extension.name for extension in extensions]
    (made / MANIFEST).write_text(json.dumps({"fingerprint": sources, "modules": names}))


def _build(extension: Any, compiler: list[str], objects: Path, target: Path) -> None:
    """C to an extension module, as many files at a time as there are cores."""
    objects.mkdir(exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    flags = [*shlex.split(sysconfig.get_config_var("CFLAGS") or ""), *extension.extra_compile_args]
    include = [f"-I{place}" for place in (*extension.include_dirs, sysconfig.get_path("include"))]
    # What the next compiler warns of in mypyc's C is no reason to go without it.
    command = [*compiler, *flags, "-Wno-error", "-w", "-DNDEBUG", *_DIRECT, *include, "-c"]
    pairs = [(source, str(objects / f"{extension.name}.{Path(source).stem}.o")) for source in extension.sources]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(lambda pair: _run(*command, pair[0], "-o", pair[1]), pairs))
    _run(*compiler, "-shared", *(made for _, made in pairs), "-o", str(target))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr.strip()]
        raise CannotCompileError(f"the C compiler: {errors[0]}")


def _replace(folder: Path, made: Path) -> None:
    """Without the manifest nothing of a folder is used, so it goes first and comes last."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made, folder, ignore=shutil.ignore_patterns(MANIFEST))
    shutil.copy(made / MANIFEST, folder / MANIFEST)


def exercised(folder: Path) -> str:
    """Let a gateway with these modules serve the benchmark's requests (`scripts/train.py`)."""
    command = [sys.executable, "-m", "scripts.train", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1] if done.returncode else ""


def main() -> int:
    """Compile what is out of date."""
    if os.environ.get(PURE):
        shutil.rmtree(home(), ignore_errors=True)
        print(f"setup: {PURE} is set: hot modules are interpreted")
        return 0
    files = modules(ROOT)
    answer, names = look(home(), ROOT / "app")
    if answer == "yes" and {".".join(file.with_suffix("").parts) for file in files} <= set(names):
        return 0
    print(f"compiling {len(files)} hot modules takes minutes", flush=True)
    try:
        compile_into(home(), ROOT, files, exercised)
    except CannotCompileError as error:
        shutil.rmtree(home(), ignore_errors=True)
        print(f"setup: hot modules are interpreted: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
