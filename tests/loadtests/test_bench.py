"""The comparison at small scale: real gateway, real upstream, whole report."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

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
    step=0.1,
    sweep=0.8,
    rest=0.2,
)


@dataclass(frozen=True, slots=True)
class Report:
    """What one round of three said: the file for machines, the text for people."""

    result: dict[str, Any]
    text: str

    def only(self, name: str) -> dict[str, Any]:
        """The one round of a gateway."""
        (figures,) = self.result["rounds"][name]
        return dict(figures)


pytestmark = pytest.mark.timeout(180)
"""Whoever comes first waits for the benchmark."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Direct, nginx where it is installed, and this gateway with everything as it comes."""
    folder, said = tmp_path_factory.mktemp("bench"), StringIO()
    file = folder / "result.json"
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setattr(bench, "QUICK", TINY)
        argv = ["--quick", "--repeat", "1", "--only", "direct,nginx,sluicegate", "--json", str(file)]
        assert bench.main(argv) == 0
    return Report(json.loads(file.read_text()), said.getvalue())


def test_one_round_end_to_end(report: Report) -> None:
    """Every figure is there and plausible."""
    direct, ours = report.only("direct"), report.only("sluicegate")
    assert direct["halting"]["request_us"] == 0
    assert 20 < ours["halting"]["request_us"] < 20_000
    assert 1 < ours["halting"]["chunk_us"] < 5_000
    assert ours["alone"]["first_p50_ms"] >= 0.1
    assert 0 < direct["alone"]["chunk_p50_ms"] < ours["alone"]["chunk_p99_ms"]
    for figures in (ours["awake"], ours["polling"]):
        assert (figures is None) == (not os.access("/dev/cpu_dma_latency", os.W_OK))
    assert 0 < ours["alone"]["last_p50_ms"] <= ours["alone"]["last_p99_ms"]
    assert ours["stream_ms"] >= 64 * 2 * 0.9
    assert "CPU per small request" in report.text


def test_rates_are_swept_relative_to_the_rounds_own_throughput(report: Report) -> None:
    """Direct's too, and each bound has its row."""
    for name in ("direct", "sluicegate"):
        figures = report.only(name)
        assert figures["frontier"]["steps"][0]["rate"] == pytest.approx(0.3 * figures["per_second"])
        assert figures["frontier"]["steps"][0]["fault"] is None
    assert all(f"requests/s with p99 ≤ {bound} ms" in report.text for bound in (5, 10, 50))


def test_memory_is_looked_at_three_times(report: Report) -> None:
    """Before, in the round, at rest; in bytes."""
    idle, recovered = report.result["idle_memory"]["sluicegate"], report.result["recovered_memory"]["sluicegate"]
    assert min(idle, report.only("sluicegate")["memory"]) > 20 << 20
    assert recovered > idle / 2


def test_nginx_takes_part_where_it_is_installed(report: Report) -> None:
    """Both of its processes count, and it adds something to direct; elsewhere the report says what is missing."""
    if shutil.which("nginx") is None:
        assert "- nginx is absent: no nginx on PATH" in report.text
        return
    direct, nginx = report.only("direct"), report.only("nginx")
    assert report.result["absent"] == {}
    assert 5 < nginx["halting"]["request_us"] < 5_000
    assert direct["alone"]["whole_p50_ms"] < nginx["alone"]["whole_p50_ms"]
    assert 0 < direct["alone"]["chunk_p50_ms"] < nginx["alone"]["chunk_p99_ms"] < 64
    assert nginx["memory"] > 1 << 20


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
