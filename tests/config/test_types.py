"""Names, durations, money: what is taken, what is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.config.types import Duration, Name, Percent, Settings, Timeout, Usd


def taken(kind: Any, value: object) -> Any:
    """The validated value; `ValidationError` where it is refused."""
    return TypeAdapter(kind, config={"strict": True, "allow_inf_nan": False}).validate_python(value)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(30, 30), (0.5, 0.5), ("250ms", 0.25), ("30s", 30), ("10m", 600), ("1h", 3600), ("2d", 172800), ("1.5m", 90)],
)
def test_durations_are_seconds(written: object, seconds: float) -> None:
    """Plain numbers, or a number with a unit."""
    assert taken(Duration, written) == seconds


@pytest.mark.parametrize("written", ["10", "10 m", "m", "-1s", "1h30m", "1e3s", "", True, None, (1,), "9" * 20 + "d"])
def test_what_is_no_duration_is_refused(written: object) -> None:
    """Text without a unit too: it is not clear what was meant."""
    with pytest.raises(ValidationError, match="duration"):
        taken(Duration, written)


@pytest.mark.parametrize("written", [0, -1, "0s", "25h", 1e300])
def test_a_timeout_is_more_than_nothing_and_at_most_a_day(written: object) -> None:
    """A timeout of nothing would fail every request."""
    with pytest.raises(ValidationError):
        taken(Timeout, written)


@pytest.mark.parametrize("name", ["a", "llama-v1", "meta-llama/Llama-3.1-8B", "user@host", "A" * 128, "0", "x:y+z_."])
def test_names(name: str) -> None:
    """What model and deployment names look like."""
    assert taken(Name, name) == name


@pytest.mark.parametrize("name", ["", "-", "-a", "a b", "a\n", "ä", "A" * 129, "a\0", "{}", 1, None, True])
def test_what_is_no_name_is_refused(name: object) -> None:
    """A name may become a header value, a label, a part of a path."""
    with pytest.raises(ValidationError):
        taken(Name, name)


@given(st.integers(0, 10**15))
def test_money_is_exact(millionths: int) -> None:
    """What is typed with up to six decimals is what is counted."""
    written = Decimal(millionths) / 10**6
    assert taken(Usd, float(written) if millionths % 10**6 else int(written)) == written


@pytest.mark.parametrize("written", [-0.01, -1, 10**9 + 1, 1e300, 0.0000001, 0.1234567, "1", True, None, float("inf")])
def test_what_is_no_money_is_refused(written: object) -> None:
    """Negative, huge, finer than a millionth, text."""
    with pytest.raises(ValidationError):
        taken(Usd, written)


@pytest.mark.parametrize("written", [-0.1, 100.1, float("nan"), "5", True])
def test_what_is_no_percent_is_refused(written: object) -> None:
    """0 to 100, fractions allowed."""
    assert taken(Percent, 0.5) == 0.5
    with pytest.raises(ValidationError):
        taken(Percent, written)


class Sample(Settings):
    """A section as the configuration's own are."""

    count: int = 1
    """How many."""
    flag: bool = False


def test_sections_are_closed_strict_and_frozen() -> None:
    """No unknown name, no number for a truth, no change afterwards."""
    for wrong in ({"cout": 1}, {"count": "1"}, {"count": 1.0}, {"count": True}, {"flag": 1}, {"flag": "yes"}):
        with pytest.raises(ValidationError):
            Sample.model_validate(wrong)
    with pytest.raises(ValidationError):
        Sample().count = 2
    assert Sample.model_fields["count"].description == "How many."


def test_validation_errors_do_not_repeat_values() -> None:
    """Whatever prints one, a secret that was typed into the wrong place is not in it."""
    with pytest.raises(ValidationError) as caught:
        Sample.model_validate({"count": "hunter2"})
    assert "hunter2" not in str(caught.value)
