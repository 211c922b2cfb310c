"""The script that prints what counting costs."""

from __future__ import annotations

from loadtests.counting import VOCABULARIES, long_prompts, path_costs


def test_every_step_has_a_cost() -> None:
    """None is nothing, none is lost."""
    costs = path_costs(1)
    assert len(costs) == 10
    assert all(cost > 0 for cost in costs.values())


async def test_every_vocabulary_counts_a_long_prompt() -> None:
    """And the loop had its turns, the longest pause among them."""
    told = await long_prompts(2_000)
    assert set(told) == {"nothing", *VOCABULARIES}
    assert all(0 < longest <= seconds for seconds, longest in told.values())
