"""The generator by hand, at the fake upstream."""

from __future__ import annotations

import pytest

from loadtests import fire
from tests.support.upstream import Upstream


def test_a_closed_loop(upstream: Upstream, capsys: pytest.CaptureFixture[str]) -> None:
    """It says how many, how fast, how they ended."""
    url = f"http://127.0.0.1:{upstream.port}/v1"
    assert fire.main([url, "--model", "answer-2", "--connections", "2", "--seconds", "0.2"]) == 0
    said = capsys.readouterr().out
    assert "ends: HTTP 200 " in said
    assert "whole answer: p50" in said


def test_a_rate_of_streams(upstream: Upstream, capsys: pytest.CaptureFixture[str]) -> None:
    """First events are told apart."""
    url = f"http://127.0.0.1:{upstream.port}/v1"
    options = ["--model", "answer-2", "--seconds", "0.3", "--rate", "50", "--stream", "--connections", "4"]
    assert fire.main([url, *options]) == 0
    assert "first event: p50" in capsys.readouterr().out


def test_refusals_are_exit_code_1(upstream: Upstream, capsys: pytest.CaptureFixture[str]) -> None:
    """A load that was refused is no load."""
    url = f"http://127.0.0.1:{upstream.port}/v1"
    assert fire.main([url, "--model", "fail-503", "--connections", "1", "--seconds", "0.1"]) == 1
    assert "ends: HTTP 503" in capsys.readouterr().out


def test_the_key_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it stands in no shell history."""
    monkeypatch.setenv("SOME_KEY", "sk-1")
    door = fire.door("http://127.0.0.1:81/v1/", "env:SOME_KEY")
    assert (door.port, door.path, door.headers) == (81, "/v1/chat/completions", (("authorization", "Bearer sk-1"),))


def test_tls_is_refused() -> None:
    """With a word, not with garbage on the wire."""
    with pytest.raises(SystemExit, match="plain http only"):
        fire.door("https://127.0.0.1/v1", "")
