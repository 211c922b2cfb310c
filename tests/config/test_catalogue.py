"""The catalogue: its data, and what a deployment takes from it."""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import chain
from typing import Any

import pytest

from app.config import Config, version
from app.config.catalogue import Facts, entries, find
from app.config.deployments import Deployment, Price
from tests.support.configs import REMOVED, loaded, messages, problems

LEFT_OUT = {f"deployments[1].{setting}": REMOVED for setting in ("price", "context_window", "max_output_tokens")}


def known(model: str, changes: dict[str, Any] | None = None, provider: str = "openai") -> Deployment:
    """A deployment of the provider's model that writes no figures of its own but those given."""
    names = {"deployments[1].provider": provider, "deployments[1].model": model}
    return loaded(LEFT_OUT | names | (changes or {})).deployments[1]


@pytest.mark.parametrize("facts", entries(), ids=lambda facts: f"{facts.provider}-{facts.models[0]}")
def test_every_entry_makes_a_deployment(facts: Facts) -> None:
    """With the two figures that nobody publishes for weights of one's own written, every entry is valid."""
    own = {"context_window": 4096, "max_output_tokens": 512, "price": {"input": 0, "output": 0}}
    missing = {name: value for name, value in own.items() if getattr(facts, name) is None}
    one = Deployment.model_validate(
        {"name": "x", "provider": facts.provider, "base_url": "http://h/v1", "model": facts.models[0], **missing}
    )
    assert one.max_output_tokens <= one.context_window
    assert one.catalog.input == facts.input
    assert (one.price.input > 0) == (facts.price is not None)
    long = one.price.long_prompt
    assert long is None or (long.above < one.context_window and long.input >= one.price.input)


def test_every_entry_says_where_it_stands_and_when_that_was_checked() -> None:
    """A page of the vendor's, and a month; no name is there twice."""
    for facts in entries():
        assert facts.source.startswith("https://"), facts.models
        assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", facts.date), facts.models
    names = list(chain.from_iterable([(facts.provider, name) for name in facts.models] for facts in entries()))
    assert len(names) == len(set(names))
    assert {facts.provider for facts in entries()} == {"openai", "azure_openai", "anthropic", "gemini", "vllm"}


def test_weights_that_anybody_may_run_have_no_price() -> None:
    """What tokens cost on machines of one's own only their owner knows."""
    assert not [facts for facts in entries() if facts.provider == "vllm" and facts.price]
    assert not [facts.models for facts in entries() if facts.provider != "vllm" and not facts.price]


def test_a_model_that_is_known_needs_no_figures() -> None:
    """Limits, price, and what people want to know, with the page on which the price stands."""
    one = known("gpt-4o-mini-2024-07-18")
    assert (one.context_window, one.max_output_tokens) == (128_000, 16_384)
    assert (one.price.input, one.price.output, one.price.cached_input) == (
        Decimal("0.15"),
        Decimal("0.6"),
        Decimal("0.075"),
    )
    assert (one.catalog.license, one.catalog.input) == ("proprietary", ("text", "image", "pdf"))
    assert (one.catalog.source, one.catalog.date) == ("https://developers.openai.com/api/docs/pricing", "2026-11")


def test_what_is_written_wins() -> None:
    """Setting by setting; a price is one setting, and one that is written has no published source."""
    one = known("gpt-5.5", {"deployments[1].price": {"input": 1, "output": 2}, "deployments[1].max_output_tokens": 99})
    assert one.price == Price(input=Decimal(1), output=Decimal(2))
    assert (one.context_window, one.max_output_tokens) == (1_050_000, 99)
    assert (one.catalog.source, one.catalog.date) == (None, None)
    assert known("gpt-5.5", {"deployments[1].catalog": {"license": "ours"}}).catalog.license == "ours"


def test_another_name_for_the_catalogue() -> None:
    """Azure's deployments and served models are called what their owners like."""
    azure = known("prod-eu-1", {"deployments[1].catalog": {"model": "gpt-4.1"}}, provider="azure_openai")
    assert (azure.model, azure.price.output, azure.context_window) == ("prod-eu-1", Decimal(8), 1_047_576)


def test_an_embedding_has_no_output() -> None:
    """The least that the setting allows stands there."""
    assert known("text-embedding-3-small").max_output_tokens == 1


def test_what_nobody_knows_is_required() -> None:
    """Each setting by name, with what would be right."""
    found = problems(LEFT_OUT | {"deployments[1].model": "our-own"})
    assert messages(found) == [
        f"deployments[1].{setting} is required" for setting in ("context_window", "max_output_tokens", "price")
    ]
    assert all("catalogue" in (problem.hint or "") for problem in found)
    weights = {"deployments[1].provider": "vllm", "deployments[1].model": "openai/gpt-oss-20b"}
    assert messages(problems(LEFT_OUT | weights)) == [
        f"deployments[1].{setting} is required" for setting in ("max_output_tokens", "price")
    ]


@pytest.mark.parametrize("catalog", ["gpt-4o-mini", {"model": 5}, ["gpt-4o-mini"]])
def test_a_catalog_that_is_none_is_refused_as_such(catalog: object) -> None:
    """And hides no other mistake."""
    found = problems({"deployments[1].catalog": catalog, "deployments[1].model": "gpt-4o-mini"})
    assert [problem.path.startswith("deployments[1].catalog") for problem in found] == [True]


def test_the_version_of_a_configuration_follows_what_it_took() -> None:
    """Figures of the catalogue are part of the content: a gateway with others shows another version."""

    def taken(changes: dict[str, Any]) -> Config:
        return loaded(LEFT_OUT | {"deployments[1].model": "gpt-4o-mini"} | changes)

    assert version(taken({})) == version(taken({"deployments[1].context_window": 128_000}))
    assert version(taken({})) != version(taken({"deployments[1].context_window": 128_001}))


def test_providers_do_not_share_names() -> None:
    """A model is looked for under its provider alone."""
    assert find("anthropic", "gpt-4o-mini") is None
    assert find("openai", "gpt-4o-mini") is not None
