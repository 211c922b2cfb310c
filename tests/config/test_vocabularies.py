"""The setting `tokenizer`: names, files, and packages that may be missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config import vocabularies
from tests.support.configs import loaded, messages, problems

PLACE = "deployments[0].tokenizer"


@pytest.mark.parametrize("name", ["upstream", "bound", "gpt2", "cl100k", "o200k"])
def test_names(name: str) -> None:
    """Each stands for itself."""
    assert loaded({PLACE: name}).deployments[0].tokenizer == name


def test_a_file(tmp_path: Path) -> None:
    """Whether it is a tokenizer is found out when it is loaded."""
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    assert loaded({PLACE: str(path)}).deployments[0].tokenizer == str(path)
    path.unlink()
    assert messages(problems({PLACE: str(path)})) == [f"{PLACE} names a file that is not there"]


@pytest.mark.parametrize(
    ("value", "message"),
    [("cl10k", "is not a tokenizer"), (5, "must name a tokenizer"), ("", "must name a tokenizer")],
)
def test_what_is_none(value: object, message: str) -> None:
    """Told with what would be right."""
    (problem,) = problems({PLACE: value})
    assert (problem.path, problem.message) == (PLACE, message)
    assert problem.hint is not None
    assert "`upstream`" in problem.hint


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint names the extra; what needs no package still works."""
    monkeypatch.setattr(vocabularies, "find_spec", lambda _name: None)
    (problem,) = problems({PLACE: "o200k"})
    assert problem.message == "needs packages that are not installed"
    assert problem.hint == "Install the extra `sluicegate[tokenizers]`."
    assert problems({PLACE: "bound"}) == []


@pytest.mark.parametrize(
    ("provider", "tokenizer", "template"),
    [("vllm", "upstream", 512), ("openai", "bound", 16), ("gemini", "bound", 512)],
)
def test_what_holds_where_nothing_is_written(provider: str, tokenizer: str, template: int) -> None:
    """By the provider."""
    one = loaded({"deployments[0].provider": provider}).deployments[0]
    assert (one.tokenizer, one.template_tokens, one.image_tokens) == (tokenizer, template, None)


def test_only_vllm_counts_tokens() -> None:
    """Another upstream cannot be asked."""
    found = messages(problems({"deployments[1].tokenizer": "upstream"}))
    assert found == ["deployments[1].tokenizer asks `openai`, which counts no tokens"]
