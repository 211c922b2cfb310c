"""The kinds of value that settings are made of: names, durations, money, shares."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from app.config.problems import wrong


class Change(Enum):
    """When a changed setting takes effect. `RESTART` stands in a field's metadata; without it: on reload."""

    RELOAD = "reload"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Label:
    """What the reference page calls a kind of value; stands in a field's metadata."""

    text: str


@dataclass(frozen=True, slots=True)
class Default:
    """What the reference page calls the default of a setting that is filled in before it is validated."""

    text: str


CATALOGUE = Default("the catalogue's")


class Settings(BaseModel):
    """Base of every section: immutable, strict about types, and closed against unknown names."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
_DECIMALS = 6
_MOST_USD = 10**9


def _duration(value: object) -> float:
    seconds = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        seconds = float(match[1]) * _UNITS[match[2]]
    if not math.isfinite(seconds):
        raise wrong(
            "must be a duration", "Write seconds (`30`, `0.5`) or a number with a unit: ms, s, m, h, d (`10m`)."
        )
    return seconds


def _usd(value: object) -> Decimal:
    if isinstance(value, Decimal):
        amount = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        amount = Decimal(repr(value))  # the shortest text of a float is the one that was typed
    else:
        raise wrong("must be a number of US dollars", "For example `0.15`, without a currency sign.")
    if not amount.is_finite() or not 0 <= amount <= _MOST_USD:
        raise wrong(f"must be from 0 to {_MOST_USD} US dollars")
    if amount != round(amount, _DECIMALS):
        raise wrong(
            f"has more than {_DECIMALS} decimals", "Round it: money is counted exactly, and this is the finest amount."
        )
    return amount


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise wrong("must be a name", "Put it in quotes if it is one that looks like a number or like `true`.")
    if not _NAME.fullmatch(value):
        raise wrong(
            "is not a usable name", "Use 1 to 128 of `A-Z a-z 0-9 . _ : / @ + -`, beginning with a letter or digit."
        )
    return value


Name = Annotated[str, BeforeValidator(_name), Label("name")]
"""A name that may become a label, a header value or a part of a path."""
Text = Annotated[str, Field(min_length=1, max_length=1000)]
"""Any non-empty text."""
Duration = Annotated[float, BeforeValidator(_duration), Label("duration")]
"""Seconds."""
Timeout = Annotated[Duration, Field(gt=0, le=86400)]
"""Seconds, more than none and at most a day."""
Usd = Annotated[Decimal, BeforeValidator(_usd), PlainSerializer(float, when_used="json"), Label("US dollars")]
"""US dollars, exact to a millionth."""
Percent = Annotated[float, Field(ge=0, le=100), Label("percent")]
"""0 to 100."""
Fraction = Annotated[float, Field(ge=0, le=1)]
"""0 to 1."""
Tokens = Annotated[int, Field(ge=1, le=10**9)]
"""A number of tokens that one request may have."""
Count = Annotated[int, Field(ge=1, le=10**9)]
"""At least one."""
Amount = Annotated[int, Field(ge=0, le=10**15)]
"""A quantity that a budget allows; 0 allows nothing."""
