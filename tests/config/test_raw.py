"""YAML text to values with lines: the scalars, the bounds, what is refused."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config import ConfigError, raw


def refusal(text: str) -> tuple[int | None, str]:
    """Line and message of the one problem of a text."""
    with pytest.raises(ConfigError) as caught:
        raw.parse(text)
    (problem,) = caught.value.problems
    return problem.line, problem.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-7", -7),
        ("0123", 123),
        ("1.50", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30:00", "12:30:00"),
        ("2026-01-01", "2026-01-01"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1" * 41, "1" * 41),
        ('"1"', "1"),
        ("'true'", "true"),
        ("8B", "8B"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    """Plain words and times are text; quotes always make text; octal and hexadecimal forms are not numbers."""
    parsed = raw.parse(f"a: {text}").root["a"]
    assert parsed == value
    assert type(parsed) is type(value)


def test_lists_are_tuples_and_mappings_dicts() -> None:
    """Nested in flow and block style alike."""
    assert raw.parse("a: [1, {b: [x]}]\nc:\n  - d: 2\n").root == {"a": (1, {"b": ("x",)}), "c": ({"d": 2},)}


def test_lines_are_those_of_the_names_and_elements() -> None:
    """A place that is not in the file has the line of what is around it."""
    document = raw.parse("a:\n  - b: 1\n    c: 2\n  - d:\n      3\n")
    assert document.line(("a", 0, "c")) == 3
    assert document.line(("a", 1, "d")) == 4
    assert document.line(("a", 1)) == 4
    assert document.line(("a", 1, "missing", "deeper")) == 4
    assert document.line(("nowhere",)) == 1


def test_a_name_that_is_set_twice_is_refused_with_both_lines() -> None:
    """Every such name, also deep inside."""
    with pytest.raises(ConfigError) as caught:
        raw.parse("a: 1\nb:\n  - {c: 1,\n     c: 2}\na: 3\n")
    assert [(problem.path, problem.line, problem.message) for problem in caught.value.problems] == [
        ("b[0].c", 4, "is set twice, on line 3 and on line 4"),
        ("a", 5, "is set twice, on line 1 and on line 5"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: &x 1\nb: *x\n", 2, "aliases"),
        ("a: !!python/object:os.system x\n", 1, "tags"),
        ("a: !secret x\n", 1, "tags"),
        ("a: 1\n---\nb: 1\n", 2, "more than one document"),
        ("? [a, b]\n: 1\n", 1, "must be plain text"),
        ("a: [1\nb: 2\n", 2, "is not valid YAML"),
        ("a: 1\n\tb: 2\n", 2, "is not valid YAML"),
        ("a: \x07\n", None, "is not valid YAML"),
        ("a: \ud800\n", None, "is not valid YAML"),
    ],
)
def test_what_is_not_plain_yaml_is_refused(text: str, line: int | None, message: str) -> None:
    """With the line, where the parser knows it."""
    found = refusal(text)
    assert message in found[1]
    assert line is None or found[0] == line


def test_syntax_errors_do_not_repeat_the_file() -> None:
    """What stands around a mistake could be a secret that somebody typed."""
    assert "hunter2" not in refusal('api_key: "hunter2\nmodel: x: y\n')[1]


def test_depth_is_bounded() -> None:
    """A hundred thousand brackets are refused at the first that is too deep, without recursion."""
    assert "nested deeper" in refusal("[" * 100_000)[1]
    assert raw.parse("[" * raw.MAX_DEPTH + "]" * raw.MAX_DEPTH).root == _nested(raw.MAX_DEPTH)


def test_size_is_bounded() -> None:
    """In bytes, not in characters."""
    assert "larger than" in refusal("#" * (raw.MAX_BYTES + 1))[1]
    assert "larger than" in refusal("#" + "é" * (raw.MAX_BYTES // 2))[1]


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """Nothing but `ConfigError` comes out."""
    with suppress(ConfigError):
        raw.parse(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**39), 10**39) | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcdef"), inner, max_size=4),
        max_leaves=20,
    )
)
def test_json_is_read_as_it_was_meant(value: Any) -> None:
    """JSON is YAML: numbers, true, false, null, lists and objects survive."""
    assert raw.parse(_json(value)).root == _tuples(value)


def _nested(depth: int) -> tuple[Any, ...]:
    return () if depth == 1 else (_nested(depth - 1),)


def _json(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_json, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{name}": {_json(inner)}' for name, inner in value.items()) + "}"
    return (
        {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {name: _tuples(inner) for name, inner in value.items()} if isinstance(value, dict) else value
