"""The command line: what it prints, and the exit code that says how it went."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.version import VERSION
from tests.support.configs import ENVIRON, REMOVED, small
from tests.support.sockets import Answers, chat_request, connect
from tests.support.upstream import ROOT

BAD: dict[str, Any] = {"server.prot": 1, "deployments[0].price.input": -1, "models[0].stable": "nobody"}


def invoke(*arguments: str, environ: dict[str, str] | None = None) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, arguments, env=ENVIRON if environ is None else environ)


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command as its users do."""
    command = [sys.executable, "-m", "app.cli", *arguments]
    everything = {**os.environ, **ENVIRON, **environ}
    return subprocess.run(command, cwd=ROOT, env=everything, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes the small configuration, changed, to a file."""

    def write(changes: dict[str, Any] | None = None) -> str:
        file = tmp_path / "config.yaml"
        file.write_bytes(orjson.dumps(small(changes)))
        return str(file)

    return write


def test_version() -> None:
    """As text and as JSON; the installed command is the same."""
    assert invoke("version").output == f"{VERSION}\n"
    assert orjson.loads(invoke("version", "--json").output) == {"version": VERSION}
    installed = subprocess.run([Path(sys.executable).parent / "sluicegate", "version"], capture_output=True, check=True)
    assert installed.stdout.decode() == f"{VERSION}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], *([name, "--help"] for name in main.commands)])
def test_help(arguments: list[str]) -> None:
    """Every command tells what it is for."""
    result = invoke(*arguments)
    assert (result.exit_code, result.output.startswith("Usage: ")) == (0, True)


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["nothing"], ["version", "--nothing"], ["check"], ["check", "no/such/file"], ["check", "."], ["serve"],
        ["demo", "--twice"], ["serve", "--config", "no/file"], ["serve", "--config", "Makefile", "--port", "65536"],
        ["serve", "--config", "Makefile", "--port", "x"], ["serve", "--config", "Makefile", "--workers", "0"],
    ],
)  # fmt: skip
def test_wrong_use(arguments: list[str]) -> None:
    """Exit code 2, and a line that says what is wrong, without a stack."""
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr + result.stdout
    assert "Traceback" not in result.output


def test_check_of_a_good_file(written: Any) -> None:
    """0, in words or as JSON."""
    file = written()
    assert (invoke("check", file).exit_code, invoke("check", file).output) == (0, f"{file} is valid\n")
    result = invoke("check", file, "--json")
    assert (result.exit_code, orjson.loads(result.output)) == (0, {"valid": True, "problems": []})


def test_check_of_a_bad_file(written: Any) -> None:
    """2, every problem with its place, in words on standard error or as JSON on standard output."""
    file = written(BAD)
    result = invoke("check", file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert all(path in result.stderr for path in BAD)
    shown = invoke("check", file, "--json")
    document = orjson.loads(shown.stdout)
    assert (shown.exit_code, shown.stderr, document["valid"]) == (2, "", False)
    assert {problem["path"] for problem in document["problems"]} == set(BAD)
    assert all(problem["message"] for problem in document["problems"])


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"a: [", b"- 1", b"\0", b"a: &a [*a]", b"? {}: 1", b"[" * 10_000]
)
def test_check_of_what_is_no_configuration(tmp_path: Path, content: bytes) -> None:
    """2 and a problem, whatever stands in the file."""
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    result = invoke("check", str(file), "--json")
    assert result.exit_code == 2
    assert orjson.loads(result.stdout)["problems"]


def test_a_missing_secret_is_named_and_no_other_is_told(written: Any) -> None:
    """By the name of its variable."""
    file = written()
    result = invoke("check", file, environ={**ENVIRON, "SLUICEGATE_CI_KEY": ""})
    assert result.exit_code == 2
    assert "SLUICEGATE_CI_KEY" in result.stderr
    assert not any(secret in result.output for secret in ENVIRON.values())


@pytest.mark.parametrize(
    ("changes", "arguments", "path"),
    [
        (BAD, [], "server.prot"),
        ({"tenants": REMOVED}, ["--host", "0.0.0.0"], "tenants"),
        ({}, ["--host", "not a host"], "server.host"),
        ({"stores": {"database": "sqlite+aiosqlite:///x.db"}}, ["--workers", "2"], "stores.database"),
    ],
)
def test_serve_with_what_it_cannot_use(written: Any, changes: dict[str, Any], arguments: list[str], path: str) -> None:
    """2 and the place, as `check` says it; options are a part of what is checked."""
    result = invoke("serve", "--config", written(changes), *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert path in result.stderr


def test_serve_where_somebody_does(written: Any) -> None:
    """1 and one line that names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--config", written(), "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_serve_with_a_tokenizer_that_is_none(written: Any, tmp_path: Path) -> None:
    """2 and the place: the file is there, and is read when the gateway starts."""
    (tmp_path / "tokenizer.json").write_text("{}")
    file = written({"deployments[1].tokenizer": str(tmp_path / "tokenizer.json")})
    done = run("serve", "--config", file, "--port", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "deployments[1].tokenizer: " in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_at_an_address_that_is_not_ours(written: Any) -> None:
    """1, as above."""
    file = written({"admin.key": "env:SLUICEGATE_ADMIN_KEY"})
    done = run("serve", "--config", file, "--host", "192.0.2.1")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "192.0.2.1:8080" in done.stderr


def test_serve_with_options_and_text_logs(tmp_path: Path) -> None:
    """`--host` and `--port` win over the file; a line for each request is made for eyes; SIGINT ends it with 0."""
    file = tmp_path / "config.yaml"
    file.write_bytes(orjson.dumps(small({"telemetry.log": "text", "server.port": 1, "deployments[0].health": None})))
    command = [sys.executable, "-m", "app.cli", "serve", "--config", str(file), "--host", "127.0.0.2", "--port", "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **ENVIRON}, stdout=pipe, stderr=pipe) as process:
        assert process.stderr
        # Behind what a database that is new says of its migrations.
        line = next(one for one in iter(process.stderr.readline, b"") if b"listening" in one)
        found = re.search(rb"INFO    listening url=(http://127.0.0.2:\d+) worker=0 pid=(\d+)", line)
        assert found
        assert int(found[2]) == process.pid
        with connect(found[1].decode()) as connection:
            connection.sendall(chat_request("chat", stream=False, key="wrong"))
            assert Answers(connection).next().status == 401
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stdout
        line = process.stdout.read()
    assert re.match(rb"\d\d:\d\d:\d\d refused_auth       - request_id=req_", line)
