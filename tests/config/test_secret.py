"""Secrets: what a reference may be, what comes out, and that nothing shows a value."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from app.config import KeySecret, Secret
from app.config.secret import MAX_SECRET_BYTES, files
from tests.support.configs import ENVIRON, loaded, messages, problems

VALUE = "sk-openai-0123456789"
KEY = "deployments[1].api_key"


def secret(reference: object, environ: dict[str, str] | None = None) -> Secret:
    """A secret, validated as a setting is."""
    return TypeAdapter(Secret).validate_python(reference, context=environ or ENVIRON)


def refusal(reference: object, environ: dict[str, str] | None = None) -> str:
    """What is said about a reference that cannot be used."""
    with pytest.raises(ValidationError) as caught:
        secret(reference, environ)
    context = caught.value.errors()[0]["ctx"]
    return f"{context['message']} {context['hint']}"


def test_a_variable_is_read() -> None:
    """The value comes out through `reveal` only."""
    assert secret("env:OPENAI_API_KEY").reveal() == VALUE


@pytest.mark.parametrize(("content", "value"), [("abc\n", "abc"), ("abc\r\n", "abc"), ("abc", "abc")])
def test_a_file_is_read_without_one_trailing_newline(tmp_path: Path, content: str, value: str) -> None:
    """As editors and `echo` leave it."""
    (tmp_path / "key").write_bytes(content.encode())
    assert secret(f"file:{tmp_path}/key").reveal() == value


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"abc\n\n", b"a\nb", b" abc", b"abc ", b"ab c", "schlüssel".encode(), b"\xff"]
)
def test_a_file_with_anything_but_a_credential_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, several lines, spaces, other characters: refused with the path and without the content."""
    path = tmp_path / "key"
    path.write_bytes(content)
    said = refusal(f"file:{path}")
    assert str(path) in said
    assert "abc" not in said.replace(str(path), "")


def test_a_file_that_is_no_file_is_refused(tmp_path: Path) -> None:
    """Absent, a folder, a named pipe that nobody writes, one that is too large."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * (MAX_SECRET_BYTES + 1))
    assert "No such file" in refusal(f"file:{tmp_path}/absent")
    assert "regular file" in refusal(f"file:{tmp_path}") or "directory" in refusal(f"file:{tmp_path}")
    assert "regular file" in refusal(f"file:{tmp_path}/pipe")
    assert "larger than" in refusal(f"file:{tmp_path}/large")


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("env:", "name of an environment variable"),
        ("env:WITH SPACE", "name of an environment variable"),
        ("env:MISSING", "MISSING is not set"),
        ("env:EMPTY", "is empty"),
        ("env:LINES", "line breaks"),
        ("file:relative/path", "absolute path"),
        ("file:", "absolute path"),
        ("file:/tmp/\0", "absolute path"),
        (VALUE, "not the secret itself"),
        (12345, "not the secret itself"),
        (None, "not the secret itself"),
    ],
)
def test_what_is_no_reference_is_refused(reference: object, said: str) -> None:
    """With what would be right; a secret that was typed is not repeated."""
    text = refusal(reference, {"EMPTY": "", "LINES": "a\nb"})
    assert said in text
    assert VALUE not in text


def test_no_text_of_a_secret_shows_its_value() -> None:
    """Not its repr, not its str, no format, no dump of a configuration that holds it."""
    config = loaded()
    key, digest = config.deployments[1].api_key, config.tenants[0].keys[0].secret
    shown = f"{key} {key!r} {digest} {digest!r} {config} {config.model_dump()} {config.model_dump_json()}"
    assert not [value for value in ENVIRON.values() if value in shown]
    assert config.model_dump()["deployments"][1]["api_key"] == "env:OPENAI_API_KEY"


@pytest.mark.parametrize("kind", [Secret, KeySecret])
def test_secrets_are_never_pickled(kind: type[Secret | KeySecret]) -> None:
    """Nothing carries them to another process by accident."""
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(kind("env:X", "value"))


def test_a_callers_secret_is_kept_as_a_digest_only() -> None:
    """SHA-256; nothing that the object holds is the value."""
    key = KeySecret("env:X", "value")
    assert key.digest == hashlib.sha256(b"value").digest()
    assert not hasattr(key, "reveal")
    assert b"value" not in [getattr(key, name) for name in ("_held",)]


def test_secrets_are_equal_when_reference_and_value_are() -> None:
    """A rotated value makes another secret; so does another kind."""
    assert Secret("env:X", "a") == Secret("env:X", "a")
    assert hash(Secret("env:X", "a")) == hash(Secret("env:X", "a"))
    assert Secret("env:X", "a") != Secret("env:X", "b")
    assert Secret("env:X", "a") != Secret("env:Y", "a")
    assert Secret("env:X", "a") != KeySecret("env:X", "a")


def test_a_secret_in_the_file_is_refused_without_being_shown() -> None:
    """In every place where one could be typed."""
    places = [KEY, "tenants[0].keys[0].secret", "admin.key"]
    found = problems(dict.fromkeys(places, "sk-typed-by-hand"))
    assert [problem.path for problem in found] == sorted(places, key=lambda path: path)
    assert "sk-typed" not in str(found)
    assert all("env:NAME" in str(problem.hint) for problem in found)


def test_problems_of_a_reference_stand_at_its_place() -> None:
    """The variable is named, the path is that of the setting."""
    assert messages(problems({KEY: "env:NOBODY"})) == [f"{KEY} the environment variable NOBODY is not set"]


def test_files_of_a_document_are_found_wherever_they_stand() -> None:
    """In lists and mappings; other text is left alone."""
    document = {"a": ("file:/x/y", {"b": "file:/z"}), "c": "profile:/n", "d": "file:relative", "e": 1}
    assert sorted(files(document)) == [Path("/x/y"), Path("/z")]
