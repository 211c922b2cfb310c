"""`sluicegate models`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from click.testing import CliRunner, Result

from app.cli import main
from tests.support.configs import ENVIRON, small


def run(*arguments: str) -> Result:
    """The command with the environment that the small configuration reads."""
    return CliRunner().invoke(main, ["models", *arguments], env=dict(ENVIRON))


def written(tmp_path: Path, changes: dict[str, Any]) -> str:
    """A configuration file."""
    path = tmp_path / "gateway.yaml"
    path.write_bytes(orjson.dumps(small(changes)))
    return str(path)


def test_the_catalogue_is_shown() -> None:
    """One row a name, with price and month; a long prompt's prices too; what is not known is a dash."""
    lines = run("gpt-4o-mini", "claude-haiku-5-5", "Llama-4-Scout").output.splitlines()
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in lines}
    assert rows["model"].startswith("provider context max output")
    assert "openai 128000 16384 0.15 0.6 - text, image" in lines_of(lines, "gpt-4o-mini ")
    assert "0.5, 2.5 above 100000" in rows["claude-haiku-5-5"]
    assert "vllm - - - - - text, image 109B, 17B active llama4 -" in lines_of(lines, "meta-llama/Llama-4-Scout")


def lines_of(lines: list[str], start: str) -> str:
    """The first line that starts so, its spaces single."""
    return " ".join(next(line for line in lines if line.startswith(start)).split())


def test_the_catalogue_as_json() -> None:
    """The shape of `GET /v1/models`, with the page on which the price stands."""
    (found,) = (one for one in orjson.loads(run("--json").output)["data"] if one["id"] == "claude-opus-5-5")
    assert (found["provider"], found["context_window"], found["price"]["input"]) == ("anthropic", 1_000_000, 4)
    assert found["price_source"]["url"].startswith("https://platform.claude.com/")


def test_the_models_of_a_configuration(tmp_path: Path) -> None:
    """What `GET /v1/models` would say, without a gateway."""
    file = written(tmp_path, {"deployments[0].catalog": {"parameters": "8B", "license": "llama3.1"}})
    (found,) = orjson.loads(run("--config", file, "--json", "chat").output)["data"]
    assert (found["id"], found["parameters"], found["license"]) == ("chat", "8B", "llama3.1")
    assert found["price_source"] is None
    assert "8B" in run("--config", file).output


def test_what_cannot_be_shown(tmp_path: Path) -> None:
    """An unknown name: 1; a bad file: 2, with its problems."""
    assert (run("nobody-calls-it-so").exit_code, run("--json", "nobody-calls-it-so").exit_code) == (1, 0)
    bad = run("--config", written(tmp_path, {"deployments[0].price": {"input": -1, "output": 1}}))
    assert bad.exit_code == 2
    assert "deployments[0].price.input" in bad.output
