"""What is publicly known of models: limits, prices, licences, with the place where each stands and when it was checked.

`catalogue.json` beside this file holds the facts; docs/catalogue.md says where they come from. A deployment that does
not write a setting takes it from here, by provider and the upstream's own name of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

DATA = Path(__file__).with_name("catalogue.json")


@dataclass(frozen=True, slots=True)
class Facts:
    """One model of one provider, under all its names. None where no figure could be sourced.

    `price` is as in the settings of a deployment: US dollars per million tokens. `input` and `output` are modalities.
    `source` is the page that says so, `date` the month in which it was checked (`2026-11`).
    """

    provider: str
    models: tuple[str, ...]
    input: tuple[str, ...]
    output: tuple[str, ...]
    source: str
    date: str
    context_window: int | None = None
    max_output_tokens: int | None = None
    price: Mapping[str, Any] | None = None
    parameters: str | None = None
    license: str | None = None


@lru_cache(maxsize=1)
def entries() -> tuple[Facts, ...]:
    """Every model of the catalogue."""
    read = orjson.loads(DATA.read_bytes())["models"]
    lists = ("models", "input", "output")
    return tuple(Facts(**{**one, **{name: tuple(one[name]) for name in lists}}) for one in read)


@lru_cache(maxsize=1)
def _by_name() -> dict[tuple[str, str], Facts]:
    return {(one.provider, name): one for one in entries() for name in one.models}


def find(provider: str, model: str) -> Facts | None:
    """What is known of the provider's model; None where it is not in the catalogue."""
    return _by_name().get((provider, model))


def filled(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """A deployment's settings, as they stand in a file, with what the catalogue adds to them.

    What is written wins, setting by setting; a price is one setting. Where the price is the catalogue's, `catalog` says
    where it stands.
    """
    catalog = deployment.get("catalog") or {}
    name = catalog.get("model") if isinstance(catalog, dict) else None
    facts = _known(deployment.get("provider"), name or deployment.get("model"))
    if facts is None or not isinstance(catalog, dict):
        return dict(deployment)
    taken: dict[str, Any] = {"context_window": facts.context_window, "max_output_tokens": facts.max_output_tokens}
    if facts.output == ("embedding",):
        taken["max_output_tokens"] = 1  # it makes none; the setting is a number all the same
    taken["price"] = facts.price
    told = {"parameters": facts.parameters, "license": facts.license, "input": facts.input, "output": facts.output}
    if "price" not in deployment and facts.price is not None:
        told |= {"source": facts.source, "date": facts.date}
    return {**_given(taken), **deployment, "catalog": {**_given(told), **catalog}}


def _known(provider: object, model: object) -> Facts | None:
    return find(provider, model) if isinstance(provider, str) and isinstance(model, str) else None


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}
