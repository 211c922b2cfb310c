"""The comparison with guidellm: how it is started, what is read from its report, and when the two agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadtests import guidellm, load
from loadtests.goals import Row
from loadtests.peers.sluicegate import KEY
from loadtests.profiles import BETWEEN, FIRST, PROFILES
from loadtests.workload import PROMPT
from tests.upstream.behaviour import parse


def report(**totals: int) -> dict[str, Any]:
    """A report of guidellm's, as far as it is read."""

    def metric(p50: float) -> dict[str, Any]:
        return {"successful": {"percentiles": {"p50": p50, "p95": p50 + 1, "p99": p50 + 2}}}

    metrics = {
        "request_totals": {"successful": 30, "errored": 0, "incomplete": 4} | totals,
        "time_to_first_token_ms": metric(204.0),
        "inter_token_latency_ms": metric(20.0),
    }
    return {"benchmarks": [{"duration": 10.0, "metrics": metrics}]}


def rows(first: float) -> dict[str, Row]:
    """The rows of one turn."""
    return {FIRST: Row(FIRST, 9, 0, 1.0, first, first, first), BETWEEN: Row(BETWEEN, 9, 0, 1.0, 20.0, 21.0, 22.0)}


def test_guidellm_gets_what_the_gateway_wants(tmp_path: Path) -> None:
    """The key, the model, and a liveness page that is there."""
    argv = guidellm.command("http://gateway", 16, 30.0, tmp_path / "prompts.jsonl", tmp_path / "report.json")
    backend = json.loads(argv[argv.index("--backend") + 1])
    assert (backend["target"], backend["model"], backend["api_key"]) == ("http://gateway", "stream", KEY)
    assert backend["api_routes"] == {"/health": "livez"}
    assert {"kind=concurrent,streams=16", "kind=max_duration,seconds=30"} <= set(argv)


def test_the_first_token_takes_long_enough() -> None:
    """Five percent of it are more than the tenth of a millisecond to which locust's times are rounded."""
    behaviour = parse(guidellm.MODEL)
    assert behaviour
    assert behaviour.first * guidellm.APART >= 0.01


def test_the_report_is_read() -> None:
    """Both times, with the count of streams that came to their end."""
    found = guidellm.rows_of(report())
    assert found == {FIRST: Row(FIRST, 30, 0, 3.0, 204.0, 205.0, 206.0), BETWEEN: Row(BETWEEN, 30, 0, 3.0, 20, 21, 22)}


@pytest.mark.parametrize("totals", [{"errored": 1}, {"successful": 0}])
def test_failed_streams_end_the_comparison(totals: dict[str, int]) -> None:
    """Their times would be compared with those of whole ones."""
    with pytest.raises(SystemExit, match="came to their end"):
        guidellm.rows_of(report(**totals))


@pytest.mark.parametrize(("theirs", "kept"), [(209.9, True), (190.1, True), (210.1, False), (189.9, False)])
def test_medians_may_be_five_percent_apart(theirs: float, *, kept: bool) -> None:
    """In both directions; the line says how far they are."""
    line, agreed = guidellm.verdict([(rows(200.0), rows(theirs))])
    assert agreed is kept
    assert line.startswith("PASS" if kept else "FAIL")
    assert line.endswith(f"{theirs / 200:.3f}")


def test_rounds_are_compared_within_themselves() -> None:
    """A round on a slow machine was slow for both."""
    assert guidellm.ratio([(rows(200.0), rows(204.0)), (rows(400.0), rows(408.0))]) == pytest.approx(1.02)


def test_the_table_has_a_line_per_round_and_time() -> None:
    """Three figures of each, and the ratio."""
    lines = guidellm.table([(rows(200.0), rows(204.0)), (rows(200.0), rows(202.0))]).splitlines()
    assert [line.split()[:3] for line in lines[2:]] == [
        ["round", number, name] for number in ("1", "2") for name in (FIRST, BETWEEN)
    ]
    assert lines[2].split()[3:] == ["200.0", "204.0", "1.020"] * 3


def guidellm_that(tmp_path: Path, script: str) -> Path:
    """A program that stands in for guidellm; its last argument says where the report goes."""
    path = tmp_path / "guidellm"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_turn_leaves_the_report_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Played in a folder of its own, with the profile's prompt and without the network's models."""
    (tmp_path / "report.json").write_text(json.dumps(report()))
    keep = f'test "$HF_HUB_OFFLINE" = 1 && cp prompts.jsonl {tmp_path}/seen && cp {tmp_path}/report.json report.json'
    monkeypatch.setattr(guidellm, "GUIDELLM", guidellm_that(tmp_path, keep))
    out = tmp_path / "out"
    out.mkdir()
    args = guidellm.arguments(["--streams", "2", "--seconds", "3", "--out", str(out)])
    assert guidellm.by_guidellm(args, "http://gateway")[FIRST].p50 == 204.0
    assert [path.name for path in out.iterdir()] == ["guidellm.json"]
    prompts = [json.loads(line)["prompt"] for line in (tmp_path / "seen").read_text().splitlines()]
    assert prompts == [PROMPT] * 6


def test_guidellm_s_own_failure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the end of what it wrote."""
    monkeypatch.setattr(guidellm, "GUIDELLM", guidellm_that(tmp_path, "echo no gateway; exit 3"))
    args = guidellm.arguments(["--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="guidellm ended with 3: no gateway"):
        guidellm.by_guidellm(args, "http://gateway")


def test_locust_plays_as_many_streams_for_as_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile `steady`, scaled; its callers never pause."""
    played: list[tuple[int, float]] = []

    def play(args: Any, url: str) -> list[Row]:
        profile = PROFILES[args.profile].scaled(args.users, args.time)
        played.append((profile.stages[0].users, profile.seconds))
        assert (url, profile.pause) == ("http://gateway", (0, 0))
        return [*rows(200.0).values(), Row("all", 9, len(played) - 1, 1.0, 0.0, 0.0, 0.0)]

    monkeypatch.setattr(load, "play", play)
    args = guidellm.arguments(["--streams", "12", "--seconds", "20", "--out", str(tmp_path)])
    assert guidellm.by_locust(args, "http://gateway")[FIRST].p50 == 200.0
    [(streams, seconds)] = played
    assert (streams, round(seconds, 6)) == (12, 20.0)
    with pytest.raises(SystemExit, match="1 of 9 streams failed"):
        guidellm.by_locust(args, "http://gateway")


def test_without_guidellm_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script's name."""
    monkeypatch.setattr(load, "LOCUST", tmp_path)
    monkeypatch.setattr(guidellm, "GUIDELLM", tmp_path / "guidellm")
    with pytest.raises(SystemExit, match=r"missing: scripts/load/setup_guidellm\.sh"):
        guidellm.main([])


def test_nothing_is_compared_with_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """At least one stream, second and round."""
    with pytest.raises(SystemExit, match="2"):
        guidellm.arguments(["--rounds", "0"])
    assert "at least 1" in capsys.readouterr().err
