"""Guards: defaults and bounds."""

from __future__ import annotations

import pytest

from app.config.guarding import Guard, Stream
from tests.support.configs import loaded, problems


def guarded(guard: dict[str, object]) -> Guard:
    """The guard as it is loaded."""
    return loaded({"guards": [{"name": "default", **guard}]}).guards[0]


def test_defaults() -> None:
    """What fails or is late blocks; completions are held strictly."""
    guard = guarded({"prompt": {"detectors": ["rules"]}, "completion": {"detectors": ["pii"]}})
    assert guard.prompt is not None
    assert guard.completion is not None
    assert (guard.prompt.on_error, guard.prompt.on_timeout, guard.prompt.deadline_ms) == ("block", "block", 300)
    assert (guard.completion.on_error, guard.completion.on_timeout) == ("block", "cut")
    assert guard.completion.stream == Stream(mode="strict", hold_chars=200, hold_ms=400)
    assert (guard.prompt.block_at, guard.prompt.actions, guard.blocklist, guard.blocklist_files) == ({}, {}, (), ())


def test_every_category_has_a_severity_or_an_action() -> None:
    """As the contract names them."""
    names = [
        "hate",
        "sexual",
        "violence",
        "self_harm",
        "jailbreak",
        "indirect_attack",
        "pii",
        "protected_material",
        "ungrounded",
        "blocklist",
    ]
    stage = {"detectors": ["rules"], "block_at": dict.fromkeys(names, 4), "actions": dict.fromkeys(names, "redact")}
    prompt = guarded({"prompt": stage}).prompt
    assert prompt is not None
    assert list(prompt.block_at) == list(prompt.actions) == names


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("prompt.detectors", [], "must not be empty"),
        ("prompt.block_at", {"hat": 4}, "must be one of `hate`"),
        ("prompt.block_at", {"hate": 3}, "must be one of `2`, `4`, `6`, not `3`"),
        ("prompt.block_at", {"hate": 0}, "must be one of `2`, `4`, `6`, not `0`"),
        ("prompt.actions", {"pii": "mask"}, "must be one of `block`, `redact`, `annotate`, `log`, not `mask`"),
        ("prompt.deadline_ms", 0, "must be at least 1"),
        ("prompt.on_timeout", "cut", "must be one of `block`, `allow`, not `cut`"),
        ("prompt.stream", {}, "is not a setting"),
        ("completion.on_timeout", "block", "must be one of `cut`, `pass`, not `block`"),
        ("completion.stream.mode", "fast", "must be one of `strict`, `async`, not `fast`"),
        ("blocklist", "term", "must be a list"),
        ("blocklist", [""], "must not be empty"),
    ],
)
def test_what_is_out_of_bounds_is_refused(path: str, value: object, message: str) -> None:
    """At or below the setting; a prompt is no completion."""
    stages = {"prompt": {"detectors": ["rules"]}, "completion": {"detectors": ["rules"]}}
    (problem,) = problems({"guards": [{"name": "default", **stages}], f"guards[0].{path}": value})
    assert problem.path.startswith(f"guards[0].{path}")
    assert problem.message.startswith(message)
