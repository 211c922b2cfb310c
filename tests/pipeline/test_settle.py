"""What a request is charged: exact where the provider said, never above the bound when cut, never negative."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.exchange import Call, Method, Operation, Usage
from app.pipeline.bound import output_bound, prompt_bound
from app.pipeline.progress import NONE_LEFT
from app.pipeline.settle import settle
from app.prices import Prices
from app.table import Deployment
from tests.pipeline.parts import call, deployment

COUNTS = st.integers(0, 2**64 - 1)
PRICES = st.builds(Prices, *(4 * [st.integers(0, 10**15)]))
ONE = deployment(context_window=8192, max_output_tokens=1024, cancel_allowance=16)
FULL = deployment(context_window=8192, max_output_tokens=1024, cancel_allowance="full")


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """What a decoder lets through: parts are parts."""
    read, made = draw(COUNTS), draw(COUNTS)
    return Usage(read, made, draw(st.integers(0, read)), 0, draw(st.integers(0, made)))


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Any call that passes validation."""
    fields: dict[str, Any] = {"stream": draw(st.booleans()), "n": draw(st.integers(1, 128))}
    if draw(st.booleans()):
        fields["max_tokens"] = draw(st.integers(1, 2**64 - 1))
    return call(**fields)


@given(
    asked=calls(),
    at=st.sampled_from([ONE, FULL]),
    reported=st.none() | usages(),
    counted=COUNTS,
    finished=st.booleans(),
)
def test_charges_keep_their_bounds(
    asked: Call, at: Deployment, reported: Usage | None, counted: int, *, finished: bool
) -> None:
    """Nothing is negative; without the provider's last word output stays within the bound and input within its own."""
    charged = settle(asked, at, reported, counted, finished=finished)
    assert min(charged[:-1]) >= 0
    assert charged.cached_input_tokens <= charged.input_tokens
    if finished and reported is not None:
        assert charged == reported
        return
    assert charged.output_tokens <= output_bound(asked, at)
    assert charged.input_tokens <= (prompt_bound(asked, at) if reported is None else reported.input_tokens)
    assert charged.method is not Method.EXACT


@given(calls(), st.none() | usages(), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_cut_stream_is_never_charged_less_for_more(
    asked: Call, reported: Usage | None, counted: int, more: int
) -> None:
    """Charges grow with what was seen, and a cut answer costs at least what was seen, up to the bound."""
    less = settle(asked, ONE, reported, counted, finished=False)
    assert less.output_tokens <= settle(asked, ONE, reported, counted + more, finished=False).output_tokens
    assert less.output_tokens >= min(counted, output_bound(asked, ONE))


@pytest.mark.parametrize(
    ("fields", "at", "reported", "counted", "finished", "expected"),
    [
        ({}, ONE, Usage(7, 9), 3, True, Usage(7, 9)),
        ({}, ONE, None, 3, True, Usage(75, 3, method=Method.AT_LEAST)),
        ({"stream": True}, ONE, None, 3, False, Usage(89, 19, method=Method.AT_LEAST)),
        ({"stream": True}, ONE, Usage(7, 12), 3, False, Usage(7, 28, method=Method.AT_LEAST)),
        ({"stream": True}, ONE, Usage(7, 12, 5), 30, False, Usage(7, 46, 5, method=Method.AT_LEAST)),
        ({"stream": True, "max_tokens": 20}, ONE, Usage(7, 12), 3, False, Usage(7, 20, method=Method.AT_LEAST)),
        ({"stream": True}, FULL, Usage(7, 12), 3, False, Usage(7, 1024, method=Method.BOUND)),
        ({}, ONE, None, 0, False, Usage(75, 1024, method=Method.BOUND)),
        ({"max_tokens": 5, "n": 3}, ONE, None, 0, False, Usage(98, 15, method=Method.BOUND)),
    ],
)
def test_who_pays_what(
    fields: dict[str, Any], at: Deployment, reported: Usage | None, counted: int, *, finished: bool, expected: Usage
) -> None:
    """The cases of the contract: exact; counted; cut with and without running usage; `full`; not streamed."""
    asked = call(**fields)
    charged = settle(asked, at, reported, counted, finished=finished)
    if reported is None:
        expected = expected._replace(input_tokens=asked.size + at.template_tokens)
    assert charged == expected


@pytest.mark.parametrize(
    ("operation", "fields", "output"),
    [
        (Operation.CHAT, {}, 1024),
        (Operation.CHAT, {"n": 3}, 3 * 1024),
        (Operation.CHAT, {"max_completion_tokens": 10, "n": 2}, 20),
        (Operation.CHAT, {"max_tokens": 2**64 - 1, "n": 128}, 128 * 1024),
        (Operation.COMPLETION, {"max_tokens": 0}, 0),
        (Operation.COMPLETION, {"prompt": ["a", "b", "c"], "max_tokens": 10, "n": 2}, 60),
        (Operation.COMPLETION, {"prompt": [1, 2, 3], "max_tokens": 10}, 10),
        (Operation.COMPLETION, {"prompt": [[1, 2], [3]], "max_tokens": 10}, 20),
        (Operation.COMPLETION, {"best_of": 4, "max_tokens": 10}, 40),
        (Operation.EMBEDDINGS, {"input": ["a"] * 9}, 0),
    ],
)
def test_the_bound_counts_every_answer(operation: Operation, fields: dict[str, Any], output: int) -> None:
    """`n` answers for each prompt, `best_of` where it is more, none larger than the context window."""
    assert output_bound(call(operation, **fields), ONE) == output


def test_a_prompt_is_bounded_by_its_bytes_and_the_window() -> None:
    """A token has at least one byte; what does not fit the window is refused, an image's megabytes included."""
    assert prompt_bound(call(), ONE) == call().size + ONE.template_tokens
    image = call(messages=[{"role": "user", "content": "x" * 100_000}])
    assert prompt_bound(image, ONE) == 8192
    many = call(Operation.EMBEDDINGS, input=["x" * 10_000] * 3)
    assert prompt_bound(many, ONE) == 3 * 8192


@given(usages(), PRICES)
def test_cost_is_exact_and_rounded_up_once(usage: Usage, price: Prices) -> None:
    """Nano-USD: the exact sum, rounded up, never negative; cached input is charged at its own price and not twice."""
    plain = usage.input_tokens - usage.cached_input_tokens
    pico = (
        plain * price.input + usage.cached_input_tokens * (price.cached_input or 0) + usage.output_tokens * price.output
    )
    charged = price.cost(usage)
    assert 0 <= charged - Fraction(pico, 1000) < 1


@given(st.integers(0, 10**9), st.integers(0, 10**9), PRICES)
def test_reasoning_is_a_part_of_output(made: int, thought: int, price: Prices) -> None:
    """What was thought is billed once."""
    thought = min(made, thought)
    assert price.cost(Usage(1, made, reasoning_tokens=thought)) == price.cost(Usage(1, made))


def test_cache_writes_are_a_part_of_input() -> None:
    """Written, read and plain input have a price each."""
    assert Prices(input=1000, output=0, cached_input=100, cache_write=5000).cost(Usage(100, 1, 30, 20)) == 50 + 3 + 100


def test_one_token_is_never_free() -> None:
    """Rounding is up: the cheapest request costs a nano-dollar, where a price is set at all."""
    assert Prices(1, 0, 1, 1).cost(Usage(1, 0)) == 1
    assert Prices(0, 0, 0, 0).cost(Usage(10**9, 10**9)) == 0
    assert Prices(10**9, 10**9, 10**9, 10**9).cost(NONE_LEFT) == 0
