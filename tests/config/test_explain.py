"""Validation errors in an operator's words: places, lines, nearest names, nothing twice."""

from __future__ import annotations

import pytest

from app.config.explain import nearest
from tests.support.configs import REMOVED, problems, problems_of

TEXT = """\
server: {prot: 8080}
deployments:
  - name: one
    provider: vlm
    base_url: http://127.0.0.1:8000/v1
    model: 8
    context_windows: 8192
    max_output_tokens: 1024
    price:
      input: -1
      output: 0.08
models:
  - name: chat
    stable: one
tenant: []
"""


def test_every_problem_of_a_file_is_told_with_its_line() -> None:
    """In the order of the lines; what is missing has the line of what it is missing in."""
    found = [(problem.line, problem.path, problem.message) for problem in problems_of(TEXT)]
    assert found == [
        (1, "server.prot", "is not a setting"),
        (3, "deployments[0].context_window", "is required"),
        (
            4,
            "deployments[0].provider",
            "must be one of `vllm`, `openai`, `azure_openai`, `anthropic`, `gemini`, not `vlm`",
        ),
        (6, "deployments[0].model", "must be text"),
        (7, "deployments[0].context_windows", "is not a setting"),
        (10, "deployments[0].price.input", "must be from 0 to 1000000000 US dollars"),
        (15, "tenant", "is not a section"),
    ]


def test_what_was_probably_meant_is_named() -> None:
    """For sections, settings and choices."""
    hints = {problem.path: problem.hint for problem in problems_of(TEXT)}
    assert hints["server.prot"] == "Did you mean `port`?"
    assert hints["deployments[0].provider"] == "Did you mean `vllm`?"
    assert hints["deployments[0].context_windows"] == "Did you mean `context_window`?"
    assert hints["tenant"] == "Did you mean `tenants`?"
    assert hints["deployments[0].model"] is not None
    assert "quotes" in hints["deployments[0].model"]


def test_what_is_like_nothing_gets_the_whole_list() -> None:
    """So that nobody has to look it up."""
    assert nearest("zzz", ["port", "host"]) == "Known here: `port`, `host`."


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("server.ops.prot", "port"),
        ("deployments[0].timeouts.frist_token", "first_token"),
        ("tenants[0].keys[0].secrets", "secret"),
        ("tenants[0].limits.concurent", "concurrent"),
        ("admin.kys", "keys"),
        ("budgets[0].windw", "window"),
    ],
)
def test_names_are_looked_up_where_they_stand(path: str, known: str) -> None:
    """Inside lists and sections of sections."""
    (found,) = [problem for problem in problems({path: 1}) if problem.path == path]
    assert (found.message, found.hint) == ("is not a setting", f"Did you mean `{known}`?")


def test_what_is_missing_is_explained() -> None:
    """With its meaning, as the reference page has it."""
    (problem,) = problems({"deployments[1].context_window": REMOVED})
    assert problem.hint is not None
    assert problem.hint.startswith("Tokens that prompt and answer may have together; left out: the catalogue's")


def test_a_list_is_not_called_empty_because_its_elements_are_wrong() -> None:
    """One mistake, one problem."""
    (problem,) = problems({"models[0].rollout.steps": [0]})
    assert problem.path == "models[0].rollout.steps[0].weight"


def test_a_name_of_a_mapping_is_explained_as_a_choice() -> None:
    """Categories are names, too."""
    (problem,) = problems({"guards[0]": {"name": "g", "prompt": {"detectors": ["rules"], "actions": {"pi": "log"}}}})
    assert problem.path == "guards[0].prompt.actions.pi"
    assert problem.hint == "Did you mean `pii`?"


def test_a_long_value_is_not_repeated() -> None:
    """It could be anything, and helps nobody."""
    (problem,) = problems({"telemetry.log": "x" * 200})
    assert "xxx" not in problem.message
