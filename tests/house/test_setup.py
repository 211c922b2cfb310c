"""The lock and the set-up: all pinned by hash, nothing said about where it comes from, clear words on failure."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house.tree import ROOT, text

LOCKS = [Path("requirements.lock"), Path("requirements-safety.lock"), Path("scripts/uv-requirements.txt")]
PIN = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^ ;\\]+)(?: ; [^\\]+)? \\$", re.MULTILINE)
PROJECT = tomllib.loads(text(Path("pyproject.toml")))


def pins(path: Path) -> dict[str, str]:
    """Version by canonical name."""
    return {canonicalize_name(pin["name"]): pin["version"] for pin in PIN.finditer(text(path))}


@pytest.mark.parametrize("path", LOCKS, ids=str)
def test_a_lock_holds_nothing_but_pins_and_hashes(path: Path) -> None:
    """No address, no option, no package without a hash."""
    lines = [line for line in text(path).splitlines() if not line.lstrip().startswith("#")]
    heads = [line for line in lines if not line.startswith("    ")]
    assert len(heads) == len(pins(path)) > 0
    assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?", line) for line in lines if line not in heads)
    assert "://" not in text(path)


def test_the_lock_meets_every_requirement() -> None:
    """Who adds a dependency to pyproject.toml runs `make lock`."""
    wanted = map(Requirement, [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]])
    locked = pins(Path("requirements.lock"))
    assert not [str(one) for one in wanted if locked.get(canonicalize_name(one.name), "none") not in one.specifier]


def test_the_pinned_uv_is_the_build_backend() -> None:
    """Then uv builds the project by itself, without the network."""
    [backend] = map(Requirement, PROJECT["build-system"]["requires"])
    assert backend.name == "uv_build"
    assert pins(Path("scripts/uv-requirements.txt"))["uv"] in backend.specifier


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `make setup` reads, in a folder with a space in its name."""
    folder = tmp_path / "a checkout"
    (folder / "scripts").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "scripts/setup.sh", "scripts/uv-requirements.txt"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def setup(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run set-up there; whatever it would download comes from an index that nobody answers for."""
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9", "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}
    without = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_", "PYTHON"))}
    return subprocess.run(
        ["sh", "scripts/setup.sh"],
        cwd=checkout,
        env={**without, **nowhere, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def script(folder: Path, name: str, body: str) -> Path:
    """A program that stands in for one that this machine does not have."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("python", ["/nowhere/python3", "/bin/true"])
def test_a_wrong_python_is_named(checkout: Path, python: str) -> None:
    """One line: what was given, and what would be right."""
    result = setup(checkout, PYTHON=python)
    assert result.returncode == 1
    assert re.fullmatch(rf"setup: .*PYTHON={python}.* Python 3.11 or newer.*\n", result.stderr)


def test_an_old_python_is_named(checkout: Path) -> None:
    """The one that is there, and how to name another."""
    old = script(checkout / "bin", "python3", 'case "$1" in --version) echo Python 3.9.2 ;; *) echo False ;; esac')
    result = setup(checkout, PATH=str(old.parent) + ":" + _path_without_python(checkout))
    assert result.returncode == 1
    assert result.stderr.startswith("setup: found Python 3.9.2; install Python 3.11 or newer")


def test_a_missing_python_is_told(checkout: Path) -> None:
    """On a machine with make and a shell alone."""
    result = setup(checkout, PATH=_path_without_python(checkout))
    assert result.returncode == 1
    assert result.stderr.startswith("setup: found no Python; install Python 3.11 or newer")


def test_a_python_without_venv_is_told(checkout: Path) -> None:
    """As on Debian, where the module is a package of its own."""
    python = shutil.which("python3")
    bare = script(checkout / "bin", "python3", f'case "$*" in *ensurepip*) exit 1 ;; esac\nexec "{python}" "$@"')
    result = setup(checkout, PYTHON=str(bare))
    assert result.returncode == 1
    assert "has no venv module; install it" in result.stderr


def test_an_index_that_does_not_answer_is_told(checkout: Path) -> None:
    """The words of pip, then ours; and nothing is left that looks finished."""
    pip = (
        'mkdir -p .uv/bin; printf "#!/bin/sh\\necho no index >&2; exit 1\\n" > .uv/bin/python; chmod +x .uv/bin/python'
    )
    python = script(checkout / "bin", "python3", f'case "$*" in "-m venv "*) {pip} ;; *) echo True ;; esac')
    result = setup(checkout, PYTHON=str(python))
    assert result.returncode == 1
    assert result.stderr.startswith("no index\nsetup: cannot install uv; the package index must be reachable")
    assert not (checkout / ".uv" / "done").exists()


def _path_without_python(checkout: Path) -> str:
    """A folder with the few programs that the script calls before it needs Python."""
    folder = checkout / "few"
    folder.mkdir(exist_ok=True)
    for name in ("cat", "cksum", "cmp", "dirname", "grep", "sh"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return str(folder)
