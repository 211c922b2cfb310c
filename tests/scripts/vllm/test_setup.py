"""Setting vLLM up: what a person reads when it cannot work, and that a broken-off run leaves no half of anything."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts.vllm import setup
from scripts.vllm.setup import Package, SetupError, building, check_machine, download, main, unpack

ROOT = Path(__file__).resolve().parents[3]


def test_an_old_python_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the versions that would do."""
    monkeypatch.setattr(sys, "version_info", (3, 10, 9))
    with pytest.raises(SetupError, match=r"3\.11 to 3\.14"):
        check_machine(tmp_path)


def test_a_full_disk_is_refused_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what there is and what is needed."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_200_000_000))
    monkeypatch.setattr(sys, "argv", ["setup.py", "--home", str(tmp_path / "home")])
    assert main() == 1
    assert "1.2 GB free; setting vLLM up takes 6 GB" in capsys.readouterr().err
    assert not list((tmp_path / "home").iterdir())


def test_a_broken_off_build_leaves_no_target(tmp_path: Path) -> None:
    """The next run starts afresh, and what lay around from the last is gone."""
    target = tmp_path / "models" / "one"

    def broken_off() -> None:
        with building(target) as scratch:
            (scratch / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert not target.exists()
    with building(target) as scratch:
        (scratch / "whole").touch()
    assert [path.name for path in target.iterdir()] == ["whole"]


def test_a_wheel_gives_up_what_is_under_a_prefix(tmp_path: Path) -> None:
    """A folder with its subfolders, or one file under a name of its own."""
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        for name in ("pkg/model/config.json", "pkg/model/1/deep.json", "pkg/code.py"):
            archive.writestr(name, name)
    unpack(tmp_path / "a.whl", "pkg/model/", tmp_path / "out")
    unpack(tmp_path / "a.whl", "pkg/code.py", tmp_path / "code")
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.json")) == [
        "1/deep.json",
        "config.json",
    ]
    assert (tmp_path / "code").read_text() == "pkg/code.py"


def test_only_a_download_with_the_right_hash_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A truncated file is fetched again; pip is asked for exactly this hash."""
    package = Package("some-model", "1.0", hashlib.sha256(b"whole").hexdigest())
    wheel = tmp_path / "downloads" / "some_model-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(b"who")
    asked: list[str] = []

    def fetch(*command: str | Path) -> None:
        asked.append(Path(command[-1]).read_text())
        wheel.write_bytes(b"whole")

    monkeypatch.setattr(setup, "run", fetch)
    assert download(tmp_path, Path("python"), package) == download(tmp_path, Path("python"), package) == wheel
    assert asked == [f"some-model==1.0 --hash=sha256:{package.sha256}\n"]


def test_serving_what_is_not_set_up_says_what_to_do(tmp_path: Path) -> None:
    """serve.sh names the script that would."""
    command = ["bash", "scripts/vllm/serve.sh", "1", "name"]
    environ = {**os.environ, "VLLM_FOLDER": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "run scripts/vllm/setup.sh" in done.stderr


def test_every_pin_has_hashes() -> None:
    """The lock names no package without one, and no address."""
    text = setup.LOCK.read_text()
    pins = [part for part in text.replace("\\\n", " ").splitlines() if part.strip()]
    assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)
    assert "://" not in text
