"""Bank account numbers: what is one, and what may become one."""

from __future__ import annotations

import pytest
from stdnum import iban as registry

from app.safety.ibans import find, hold

VALID = [
    "DE89 3704 0044 0532 0130 00",
    "GB29NWBK60161331926819",
    "FR14 2004 1010 0505 0001 3M02 606",
    "es91 2100 0418 4502 0005 1332",
]


@pytest.mark.parametrize("number", VALID)
def test_valid_ones_are_found_anywhere(number: str) -> None:
    """Between words, inside of one, before more letters; the library of record agrees."""
    assert registry.is_valid(number)
    for before, after in (("", ""), ("to ", " now"), ("lorem", "ipsum")):
        text = f"{before}{number}{after}"
        assert [text[start:end] for start, end in find(text)] == [number]


@pytest.mark.parametrize(
    "text", ["DE89 3704 0044 0532 0130 01", "XX89 3704 0044 0532 0130 00", "DE89", "FY24 results are", ""]
)
def test_others_are_not(text: str) -> None:
    """A wrong check digit, no such country, too short, plain words."""
    assert list(find(text)) == []


@pytest.mark.parametrize(
    ("text", "held"),
    [("pay DE89 3704", "DE89 3704"), ("pay DE89 3704 ", "DE89 3704 "), ("FY24 some", ""), ("DE89 is", ""), ("", "")],
)
def test_the_tail_that_may_become_one_is_held(text: str, held: str) -> None:
    """As long as it fits its country's shape."""
    assert text[hold(text) :] == held
