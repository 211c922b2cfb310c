"""From file to configuration: the fixtures, overrides, what cannot be read, and any mutation of a valid file."""

from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.config import ConfigError, load, secret_files
from tests.support.configs import ENVIRON, messages, problems_of, small

FIXTURES = Path("tests/fixtures/config")
COMPLETE = FIXTURES / "complete.yaml"
FIRST = FIXTURES / "first.yaml"


def test_the_complete_example_loads() -> None:
    """Every section of the contract, with its notations."""
    config = load(COMPLETE, ENVIRON, allow_unbuilt=True)
    model, tenant, guard = config.models[0], config.tenants[0], config.guards[0]
    assert [deployment.name for deployment in config.deployments] == ["llama-v1", "llama-v2", "gpt-mini"]
    assert model.rollout is not None
    assert [step.weight for step in model.rollout.steps] == [1, 5, 25, 50, 100]
    assert model.rollout.gates.slow_first_token is not None
    assert model.rollout.gates.slow_first_token.seconds == 2
    assert model.shadow is not None
    assert (model.shadow.to, model.shadow.budget.usd) == ("gpt-mini", Decimal(5))
    assert (tenant.limits.concurrent, tenant.keys[0].models) == (64, ("chat",))
    assert guard.completion is not None
    assert (guard.blocklist, guard.completion.stream.hold_chars) == (("internal codename",), 200)
    assert config.admin.keys[0].role == "admin"


def test_what_is_built_loads_as_it_is() -> None:
    """The first fixture writes out everything that does something."""
    config = load(FIRST, ENVIRON)
    assert config.server.body_timeout == 60
    assert config.deployments[0].urls == ("http://127.0.0.1:8000/v1", "http://[::1]:8001/v1")
    assert (config.deployments[1].cancel_allowance, config.deployments[1].http2) == ("full", True)


def test_the_command_line_wins_over_the_file() -> None:
    """Also where the file lacks the section, and with the same checks."""
    text = json.dumps(small({"server.port": 1}))
    config = load(text, ENVIRON, overrides={"server.port": 2, "telemetry.log": "text"})
    assert (config.server.port, config.telemetry.log) == (2, "text")
    with pytest.raises(ConfigError) as caught:
        load(text, ENVIRON, overrides={"server.workers": 0, "server.ops": {"port": 2}, "server.port": 2})
    assert messages(caught.value.problems) == ["server.workers must be at least 1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"# nothing\n", "the file is empty"),
        (b"- a\n", "the file must hold sections"),
        (b"text", "the file must hold sections"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"a: [", "is not valid YAML"),
        (b"#" * (4 * 1024 * 1024 + 1), "is larger than"),
    ],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """With one problem about the whole file."""
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path, ENVIRON)
    (problem,) = caught.value.problems
    assert problem.path == ""
    assert message in problem.message


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Absent, or a folder; the path is named."""
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read") as caught:
            load(path, ENVIRON)
        assert str(path) in caught.value.problems[0].message


def test_the_files_that_a_text_refers_to() -> None:
    """Also where the rest of it is wrong; nothing where it is no YAML."""
    assert secret_files("a: file:/x\nb: [{c: file:/y}]\n") == frozenset({Path("/x"), Path("/y")})
    assert secret_files("a: [") is None


def test_a_secret_that_is_missing_is_a_problem_of_the_file(tmp_path: Path) -> None:
    """With line and path, beside the others."""
    text = FIRST.read_text().replace("env:OPENAI_API_KEY", f"file:{tmp_path}/absent").replace("port: 9090", "port: x")
    assert [(problem.line, problem.path) for problem in problems_of(text)] == [
        (2, "server.ops.port"),
        (20, "deployments[1].api_key"),
    ]


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(["env:OPENAI_API_KEY", "file:/", "http://x", "10m", "full", "one", "redis://x", "9" * 5000])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutations(draw: st.DrawFn) -> dict[str, Any]:
    """The small configuration with some of its values replaced, dropped or added to."""
    document = small()
    for _ in range(draw(st.integers(1, 4))):
        node: Any = document
        while isinstance(node, dict | list) and node:
            name = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
            if draw(st.booleans()) and isinstance(node[name], dict | list):
                node = node[name]
                continue
            match draw(st.sampled_from(["replace", "drop", "add", "repeat"])):
                case "replace":
                    node[name] = draw(VALUES)
                case "drop":
                    del node[name]
                case "add" if isinstance(node, dict):
                    node[draw(st.text(max_size=8))] = draw(VALUES)
                case "repeat" if isinstance(node, list):
                    node.append(node[name])
            break
    return document


@settings(max_examples=150)
@given(mutations())
def test_any_mutation_loads_or_is_refused(document: dict[str, Any]) -> None:
    """Nothing but `ConfigError`, every problem with a message, and no secret in any of them."""
    found = problems_of(json.dumps(document))
    assert all(problem.message for problem in found)
    assert not [value for value in ENVIRON.values() if value in str(found)]


@given(st.text(max_size=60), st.sampled_from(["api_key: ", "server: {port: ", "- ", "tenants:\n  - ", "? "]))
def test_any_text_loads_or_is_refused(text: str, beginning: str) -> None:
    """Also what only looks like the beginning of a configuration."""
    with suppress(ConfigError):
        assert load(beginning + text, ENVIRON).models
