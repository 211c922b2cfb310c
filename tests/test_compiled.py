"""Compiled modules are used while every source is as it was, and never after."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.compiled import MANIFEST, SOURCES, Finder, fingerprint, home, look, place_of
from tests.house.tree import ROOT
from tests.support.gateway import Gateway, one_each


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A package of two files."""
    folder = tmp_path / "sources"
    (folder / "deep").mkdir(parents=True)
    (folder / "one.py").write_text("A = 1\n")
    (folder / "deep" / "two.py").write_text("B = 2\n")
    return folder


@pytest.fixture
def compiled(tmp_path: Path, sources: Path) -> Path:
    """What was compiled of it, as far as its manifest goes."""
    folder = tmp_path / "compiled"
    folder.mkdir()
    (folder / MANIFEST).write_text(json.dumps({"fingerprint": fingerprint(sources), "modules": ["app.one"]}))
    return folder


def test_what_fits_is_used(compiled: Path, sources: Path) -> None:
    """As long as nothing has changed."""
    assert look(compiled, sources) == ("yes", ["app.one"])


def test_where_nothing_was_compiled_nothing_is_used(tmp_path: Path, sources: Path) -> None:
    """That is no fault."""
    assert look(tmp_path / "nothing", sources) == ("no", [])


@pytest.mark.parametrize("change", ["edited", "edited by one sign", "touched up elsewhere", "new", "gone", "moved"])
def test_any_change_of_any_source_is_noticed(compiled: Path, sources: Path, change: str) -> None:
    """Also of a file that was not compiled itself: its constants may stand in one that was."""
    one, two = sources / "one.py", sources / "deep" / "two.py"
    match change:
        case "edited":
            one.write_text("A = 1 + 1\n")
        case "edited by one sign":
            one.write_text("A = 3\n")
        case "touched up elsewhere":
            two.write_text("B = 3\n")
        case "new":
            (sources / "three.py").write_text("")
        case "gone":
            two.unlink()
        case _:
            two.rename(sources / "two.py")
    assert look(compiled, sources) == ("outdated", [])


def test_a_source_that_is_as_it_was_again_fits_again(compiled: Path, sources: Path) -> None:
    """Content counts, not time: another checkout and an image have other times."""
    (sources / "one.py").write_text("A = 2\n")
    (sources / "one.py").write_text("A = 1\n")
    assert look(compiled, sources)[0] == "yes"


def test_the_finder_finds_its_own_modules_alone(tmp_path: Path) -> None:
    """As extensions; everything else is found as ever."""
    finder = Finder(tmp_path, ["app.pipeline.call"])
    spec = finder.find_spec("app.pipeline.call")
    assert spec is not None
    assert spec.origin == str(place_of(tmp_path, "app.pipeline.call"))
    assert finder.find_spec("app.pipeline.serve") is None


def test_this_process_interprets() -> None:
    """What tests of parts replace and subclass must be there."""
    assert not [finder for finder in sys.meta_path if isinstance(finder, Finder)]


@pytest.mark.parametrize("pure", ["", "1"])
def test_a_gateway_says_what_it_runs(pure: str) -> None:
    """And runs it: what is installed here if that fits, else the sources."""
    fits = look(home(), SOURCES)[0]
    gateway = Gateway(one_each("http://127.0.0.1:9", ["echo"]))
    gateway.environ["SLUICEGATE_PURE"] = pure
    with gateway:
        assert {line["compiled"] for line in gateway.said("listening")} == {"no" if pure else fits}


def test_modules_come_from_where_the_state_says() -> None:
    """In a fresh process."""
    code = "import app.pipeline.call as call, app.compiled as c; print(c.state(), call.__spec__.origin)"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    state, origin = said.strip().split(maxsplit=1)
    expected = place_of(home(), "app.pipeline.call") if state == "yes" else SOURCES / "pipeline" / "call.py"
    assert Path(origin) == expected
