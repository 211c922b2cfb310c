"""nginx: from where it is taken, and that it keeps to its folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loadtests.peers.base import Site
from loadtests.peers.nginx import Nginx

PRETENDER = "#!/bin/sh\necho 'nginx version: nginx/1.2.3' >&2\n"


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that is on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def program(bin_folder: Path) -> Path:
    """A program of that name."""
    path = bin_folder / "nginx"
    path.write_text(PRETENDER)
    path.chmod(0o755)
    return path


def test_without_the_program_it_says_how_to_get_it(bin_folder: Path) -> None:
    """No script of this repository installs it."""
    assert "no nginx on PATH" in (Nginx().absent() or "")
    assert "nginx-light" in (Nginx().absent() or "")


def test_the_version_is_the_programs(program: Path) -> None:
    """As it says it itself."""
    assert (Nginx().absent(), Nginx().version()) == (None, "1.2.3")


def test_it_writes_to_no_place_but_its_folder(program: Path, tmp_path: Path) -> None:
    """Every path in its configuration is relative, to the folder that it is started with; so it needs no root."""
    setup = Nginx().setup(Site(1234, 5678, tmp_path))
    config = (tmp_path / "nginx.conf").read_text()
    assert not re.findall(r"(?:_path|pid|log) +/", config)
    assert len(re.findall(r"_temp_path \w+;", config)) == 5
    assert setup.launch is not None
    assert setup.launch.argv == (str(program), "-p", f"{tmp_path}/", "-e", "error.log", "-c", f"{tmp_path}/nginx.conf")


def test_it_listens_where_it_is_told(program: Path, tmp_path: Path) -> None:
    """And asks the upstream over connections that are kept; braces are balanced."""
    setup = Nginx().setup(Site(1234, 5678, tmp_path))
    config = (tmp_path / "nginx.conf").read_text()
    assert "listen 127.0.0.1:1234;" in config
    assert "server 127.0.0.1:5678;" in config
    assert setup.port == 1234
    assert {'proxy_set_header Connection "";', "proxy_http_version 1.1;"} <= {one.strip() for one in config.split("\n")}
    assert config.count("{") == config.count("}") == 5
