"""The comparison at small scale: real gateway, real upstream, whole report."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from loadtests import bench
from loadtests.round import Plan

TINY = Plan(
    warm=20,
    requests=200,
    connections=8,
    alone=30,
    streams=8,
    open_streams=4,
    briefs=16,
    first_alone=5,
    streams_alone=2,
    rest=0.2,
)


def test_one_round_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every figure is there and plausible, every absent gateway has its reason."""
    monkeypatch.setattr(bench, "QUICK", TINY)
    monkeypatch.setattr("loadtests.peers.base.INSTALLED", tmp_path)
    file = tmp_path / "result.json"
    assert bench.main(["--quick", "--repeat", "1", "--only", "direct,sluicegate", "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert result["absent"] == {}
    (direct,), (ours,) = result["rounds"]["direct"], result["rounds"]["sluicegate"]
    assert direct["halting"]["request_us"] == 0
    assert 20 < ours["halting"]["request_us"] < 20_000
    assert 1 < ours["halting"]["chunk_us"] < 5_000
    assert ours["alone"]["first_p50_ms"] >= 0.1
    assert 0 < direct["alone"]["chunk_p50_ms"] < ours["alone"]["chunk_p99_ms"]
    for figures in (ours["awake"], ours["polling"]):
        assert (figures is None) == (not os.access("/dev/cpu_dma_latency", os.W_OK))
    assert 0 < ours["alone"]["last_p50_ms"] <= ours["alone"]["last_p99_ms"]
    assert ours["stream_ms"] >= 64 * 2 * 0.9
    assert ours["memory"] > 20 << 20
    assert result["idle_memory"]["sluicegate"] > 20 << 20
    assert result["rested_memory"]["sluicegate"] > result["idle_memory"]["sluicegate"] / 2
    assert "CPU per small request" in capsys.readouterr().out


def test_a_gateway_that_answers_wrongly_leaves_the_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its figures would mean nothing; the reason stands in the report."""
    monkeypatch.setattr(bench, "QUICK", TINY)
    monkeypatch.setattr("loadtests.round.WHOLE_MODEL", "answer-1")
    assert bench.main(["--quick", "--repeat", "1", "--only", "sluicegate"]) == 0
    assert "- sluicegate is absent: 20 of 20 answers are wrong; the first: whole: HTTP 404" in capsys.readouterr().out


def test_an_unknown_gateway_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With its name."""
    with pytest.raises(SystemExit, match="2"):
        bench.main(["--only", "direct,nothing"])
    assert "no such gateway: nothing" in capsys.readouterr().err
