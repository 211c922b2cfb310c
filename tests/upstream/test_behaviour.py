"""The grammar of model names."""

from __future__ import annotations

import re

import pytest

from tests.upstream import behaviour
from tests.upstream.behaviour import RULES, Behaviour, parse


def documented() -> set[str]:
    """The items of the table in the module's docstring, without their arguments."""
    table = (behaviour.__doc__ or "").partition("what it does\n")[2]
    cells = [line[4:32].strip() for line in table.splitlines() if line[4:5].strip()]
    items = [item for cell in cells for item in re.split(r", ", cell)]
    return {re.sub(r"(-[A-Z])?(\[.*\])?$", "", item) for item in items}


def test_every_item_is_documented_and_every_documented_item_exists() -> None:
    """The table in the docstring is the reference that other tests are written from."""
    assert documented() == set(RULES)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("echo", Behaviour()),
        ("answer-64", Behaviour(answer=64)),
        ("answer-64+pace-2ms+ttft-0.5s", Behaviour(answer=64, pace=0.002, first=0.5)),
        ("answer-64@blue", Behaviour(answer=64)),
        ("slow-200ms", Behaviour(first=0.2)),
        ("flaky-3", Behaviour(flaky=(3, 500))),
        ("flaky-3-503", Behaviour(flaky=(3, 503))),
        ("fail-404", Behaviour(fail=404)),
        ("fail-first-2", Behaviour(fail_first=(2, 503))),
        ("rate-limited", Behaviour(rate_limited=1)),
        ("rate-limited-2", Behaviour(rate_limited=2)),
        ("rate-limited-first-1", Behaviour(rate_limited_first=(1, 1))),
        ("rate-limited-first-1-0", Behaviour(rate_limited_first=(1, 0))),
        ("error-event-first", Behaviour(error_event=(0, 503))),
        ("error-event-after-3", Behaviour(answer=16, error_event=(3, 500))),
        ("answer-9+error-event-after-3-503", Behaviour(answer=9, error_event=(3, 503))),
        ("hangs", Behaviour(cut="hangs")),
        ("hangs-after-20", Behaviour(answer=40, cut="hangs", cut_after=20)),
        ("dies-mid-stream", Behaviour(answer=16, cut="dies", cut_after=3)),
        ("tool-call", Behaviour(tool_calls=1)),
        ("tool-call-2", Behaviour(tool_calls=2)),
        ("big-64k", Behaviour(big=65536)),
        ("absurd-usage", Behaviour(usage_factor=10)),
        ("no-usage", Behaviour(usage_factor=0)),
    ],
)
def test_a_name_says_what_the_model_does(name: str, wanted: Behaviour) -> None:
    """Items combine, labels change nothing, what stands in brackets has a default."""
    assert parse(name) == wanted


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nope",
        "gpt-4o-mini",
        "answer",
        "answer-",
        "answer-x",
        "answer-1-2",
        "echo-1",
        "fail-200",
        "slow-5",
        "flaky-0",
        "a+echo",
        "echo+",
        "split-0",
        "big-1g",
    ],
)
def test_any_other_name_is_no_model(name: str) -> None:
    """An item that is misspelt must not be taken for plain echo."""
    assert parse(name) is None
