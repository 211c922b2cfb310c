"""The captures are those that the script takes, and show what the documentation says they show."""

from __future__ import annotations

import json
import re

import pytest

from scripts.vllm.capture_cases import Case, embed_cases, generate_cases, locked_cases
from tests.support.vllm import CAPTURES, capture

TAKEN_APART = {"overload-stream", "overload-json", "engine-killed-stream", "engine-killed-health", "engine-killed-chat"}
CASES = [*generate_cases(), *embed_cases(), *locked_cases()]


def events(name: str) -> list[str]:
    """The data of a captured stream's events."""
    text = "".join(text for _, text in capture(name)["response"]["chunks"])
    return re.findall(r"^data: (.*)$", text, re.MULTILINE)


def test_every_case_has_its_capture() -> None:
    """And no capture is left of a case that is gone."""
    assert len(CASES) == len({case.name for case in CASES})
    assert {path.stem for path in CAPTURES.glob("*.json")} == {case.name for case in CASES} | TAKEN_APART


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_capture_is_of_this_request(case: Case) -> None:
    """Same method, path and body; errors are errors, and the rest is not."""
    taken = capture(case.name)
    assert (taken["request"]["method"], taken["request"]["path"]) == (case.method, case.path)
    assert taken["request"]["body"] == case.body
    assert (taken["response"]["status"] == 200) is not (case.name.startswith("error") or case.name == "model")


def test_an_overloaded_stream_is_a_200_that_begins_with_the_503() -> None:
    """While the same without a stream is a 503 without `retry-after`."""
    first, last = events("overload-stream")
    assert capture("overload-stream")["response"]["status"] == 200
    assert json.loads(first)["error"]["code"] == 503
    assert last == "[DONE]"
    whole = capture("overload-json")["response"]
    assert whole["status"] == 503
    assert "retry-after" not in {name.lower() for name, _ in whole["headers"]}


def test_a_killed_engine_ends_a_stream_with_an_error_and_done() -> None:
    """After chunks that were fine."""
    *chunks, error, done = events("engine-killed-stream")
    assert len(chunks) >= 20
    assert (json.loads(error)["error"]["code"], done) == (500, "[DONE]")
    assert capture("engine-killed-health")["response"]["status"] == 503


def test_the_running_usage_is_of_one_choice_and_its_prompt() -> None:
    """The total is in the last chunk alone."""
    *chunks, last, _ = [json.loads(data) if data != "[DONE]" else {} for data in events("completion-stream-usage-each")]
    assert {chunk["usage"]["prompt_tokens"] for chunk in chunks} == {2, 3}
    assert last["choices"] == []
    assert last["usage"]["prompt_tokens"] == 5
    assert last["usage"]["completion_tokens"] == 2 * chunks[-1]["usage"]["completion_tokens"]
