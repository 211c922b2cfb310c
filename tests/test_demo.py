"""`sluicegate demo`: the first thing that anybody sees, run as they run it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from app import demo
from tests.support.processes import ended

ROOT = Path(__file__).resolve().parents[1]
DEMO = [sys.executable, "-m", "app.cli", "demo"]


def test_once() -> None:
    """The answer, tokens, cost and overhead of a first streamed request; then everything ends, with exit code 0."""
    done = subprocess.run([*DEMO, "--once"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert "< A sluice gate opens by degrees" in done.stdout
    found = re.search(r"(\d+) tokens in, (\d+) out \(exact\); cost \$(\S+)", done.stdout)
    assert found
    read, made, cost = int(found[1]), int(found[2]), float(found[3])
    assert cost == pytest.approx((read * 0.15 + made * 0.60) / 1e6)
    assert re.search(r"the gateway itself took \d+\.\d+ ms", done.stdout)
    assert "outcome ok, deployment demo-v1, arm stable" in done.stdout


@contextmanager
def staying() -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The demo that stays up: the process, the gateway's URL and the key that its snippet names."""
    process = subprocess.Popen(DEMO, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        shown = ""
        for line in process.stdout:
            shown += line
            if "Stop with Ctrl-C" in line:
                break
        url, key = re.search(r'base_url="(.+)/v1"', shown), re.search(r'api_key="(.+)"', shown)
        assert url, shown
        assert key, shown
        yield process, url[1], key[1]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        process.stdout.close()


def test_it_stays_up_and_its_snippet_works() -> None:
    """What it prints can be pasted; Ctrl-C ends it and all that it started."""
    with staying() as (process, url, key):
        body = {"model": "chat", "messages": [{"role": "user", "content": "Say it in your own words."}]}
        headers = {"authorization": f"Bearer {key}"}
        answer = httpx2.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=30, trust_env=False)
        assert answer.status_code == 200
        assert answer.json()["choices"][0]["message"]["content"]
    assert process.returncode == 0
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{url}/livez", timeout=5, trust_env=False)


def test_without_a_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An installed package has no fake upstream: one clear line, exit code 1."""
    monkeypatch.setattr(demo, "_ROOT", tmp_path)
    assert demo.run(once=True) == 1
    assert "checkout" in capsys.readouterr().err


def test_keys_are_not_on_the_command_line() -> None:
    """Whoever lists processes sees no key; and no process outlives a demo that was killed."""
    with staying() as (process, _, key):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in [str(process.pid), *children]]
        process.kill()
        assert all(ended(int(pid)) for pid in children), "what it started ends with it, although it told nobody"
    assert len(lines) == 3
    assert not [line for line in lines if key.encode() in line]
    assert os.environ.get("SLUICEGATE_DEMO_KEY") is None


def test_ports_that_are_taken_are_left_alone() -> None:
    """By anything that listens, whatever it speaks; a free one is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert demo._port(port) == 0
    assert demo._port(port) == port


def test_a_port_that_is_taken_after_the_look(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It starts on free ones: two demos on one machine do not trip over each other."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(demo, "_port", {8080: taken.getsockname()[1], 9090: 0}.__getitem__)
        assert demo.run(once=True) == 0
    assert "outcome ok" in capsys.readouterr().out
