"""How a load profile is started: the gateway that stands in where none is named, and the command line."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest

from loadtests import load
from loadtests.peers.sluicegate import KEY
from loadtests.profiles import Goal


def test_every_kind_of_request_has_a_model() -> None:
    """The gateway that is started for a profile serves all that callers ask, part of it from a candidate."""
    with load.own_gateway() as url, openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        arms: set[str | None] = set()
        while arms != {"stable", "candidate"}:
            whole = client.chat.completions.with_raw_response.create(
                model="chat", messages=[{"role": "user", "content": "go"}]
            )
            arms.add(whole.headers.get("x-sluicegate-arm"))
        with client.chat.completions.create(
            model="stream", messages=[{"role": "user", "content": "go"}], stream=True
        ) as stream:
            assert len([chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content]) == 64
        assert len(client.embeddings.create(model="embeddings", input=["a", "b"]).data) == 2


def test_locust_runs_without_a_window(tmp_path: Path) -> None:
    """Headless, with CSV and HTML; what is for locust comes last, so that it wins."""
    argv = load.command("http://gateway", tmp_path, ["--processes=4"])
    assert {"--headless", "--csv", "--html"} <= set(argv)
    assert argv[argv.index("-H") + 1] == "http://gateway"
    assert argv[-1] == "--processes=4"


def test_a_goal_may_be_another() -> None:
    """ROW:FIGURE:MOST, as often as wanted."""
    args = load.arguments(["spike", "--goal", "chat:p99:250", "--goal", "all:share:0.01"])
    assert args.goal == [Goal("chat", "p99", 250), Goal("all", "share", 0.01)]


@pytest.mark.parametrize("argv", [["storm"], ["chat", "--goal", "chat:p42:1"], ["chat", "--goal", "chat"]])
def test_what_is_not_known_is_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With a word on what is."""
    with pytest.raises(SystemExit, match="2"):
        load.arguments(argv)
    assert "invalid" in capsys.readouterr().err


def test_without_locust_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script's name."""
    monkeypatch.setattr(load, "LOCUST", tmp_path / "locust")
    with pytest.raises(SystemExit, match=r"missing: scripts/load/setup\.sh"):
        load.main(["chat"])
