"""Hot modules may be compiled (`scripts/compile.py`); here it is decided whether this process runs them so.

Compiled modules lie beside no source, where Python would take them for good, but in a folder of the environment, with a
fingerprint of every source of the gateway as it was when they were made. They are used all together, and only while
each source is still the same; otherwise all of them are interpreted. `SLUICEGATE_PURE` in the environment leaves them
alone, `SLUICEGATE_COMPILED` names another folder.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

PURE: Final = "SLUICEGATE_PURE"
PLACE: Final = "SLUICEGATE_COMPILED"
SUFFIX: Final = EXTENSION_SUFFIXES[0]
"""What an extension module's name ends in: interpreter and machine are in it."""
MANIFEST: Final = "manifest.json"
SOURCES: Final = Path(__file__).parent


class Finder(MetaPathFinder):
    """Finds the modules `names` as extensions under `folder`."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._names = frozenset(names)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002  # Python passes it
        target: ModuleType | None = None,  # noqa: ARG002  # the same
    ) -> ModuleSpec | None:
        """Where such a module is."""
        if fullname not in self._names:
            return None
        return spec_from_file_location(fullname, place_of(self._folder, fullname))


def place_of(folder: Path, module: str) -> Path:
    """The file under `folder` that a compiled module is in."""
    return folder.joinpath(*module.split(".")).with_suffix(SUFFIX)


def home() -> Path:
    """Where the compiled modules of this environment are, if there are any."""
    return Path(os.environ.get(PLACE) or Path(sys.prefix, "sluicegate-compiled"))


def fingerprint(sources: Path) -> str:
    """Of every Python file under a folder, its place and its content, and of the interpreter.

    A compiled module holds what it knew of others: their constants, the layout of their objects. So every file counts.
    """
    digest = sha256(f"{SUFFIX} {sys.version}\n".encode())
    for path in sorted(sources.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(sources).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def look(folder: Path, sources: Path) -> tuple[str, list[str]]:
    """Whether the modules compiled into `folder` are those of `sources`: `yes`, `no` (there are none), `outdated`.

    With `yes` come their names.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return "no", []
    if manifest["fingerprint"] != fingerprint(sources):
        return "outdated", []
    return "yes", manifest["modules"]


def install() -> None:
    """Have modules that are imported from now on come compiled, if they may."""
    if os.environ.get(PURE):
        return
    answer, names = look(home(), SOURCES)
    if answer == "yes":
        sys.meta_path.insert(0, Finder(home(), names))


def state() -> str:
    """What this process runs: `yes`, `no`, or `outdated`, where compiled modules are there and no longer fit."""
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return "yes"
    return "no" if os.environ.get(PURE) or not (home() / MANIFEST).exists() else "outdated"
