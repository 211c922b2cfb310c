"""`sluicegate models`: which models a configuration offers, and which ones the catalogue knows."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import orjson

from app.api.catalogue import describe
from app.columns import columns
from app.config import ConfigError, Facts, catalogue, load
from app.config import describe as told
from app.exchange import JsonObject
from app.table import build

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SHOWN = ("context", "max output", "input $/M", "output $/M", "long prompts", "takes", "parameters", "licence")
_NONE = "-"


@click.command()
@click.argument("names", nargs=-1)
@click.option("--config", "file", type=_FILE, help="Show the models of this configuration instead of the catalogue.")
@click.option("--json", "as_document", is_flag=True, help="Print a JSON object: `object` and `data`.")
def models(names: tuple[str, ...], file: Path | None, *, as_document: bool) -> None:
    """Show what models are, may do and cost: those that the catalogue knows, or those of a configuration.

    NAMES shows those alone whose name holds one of these texts.
    """
    rows = _known() if file is None else _offered(file)
    found = [one for one in rows if not names or any(name in one["id"] for name in names)]
    if as_document:
        click.echo(orjson.dumps({"object": "list", "data": found}).decode())
        return
    if not found:
        click.echo("no model is called so", err=True)
        sys.exit(1)
    click.echo(columns(("model", "provider", *_SHOWN, "price of"), [_row(one) for one in found]))


def _offered(file: Path) -> list[JsonObject]:
    """The models of a configuration, as `GET /v1/models` tells them."""
    try:
        table = build(load(file, os.environ))
    except ConfigError as error:
        click.echo(f"{file} cannot be used:\n{told(error.problems)}", err=True)
        sys.exit(2)
    return [describe(model) for model in table.models.values()]


def _known() -> list[JsonObject]:
    """The catalogue, one row a name."""
    return [_document(facts, name) for facts in catalogue() for name in facts.models]


def _document(facts: Facts, name: str) -> JsonObject:
    shown = asdict(facts)
    modalities = {"input": list(facts.input), "output": list(facts.output)}
    for part in ("models", "input", "output", "source", "date"):
        del shown[part]
    return {
        "id": name,
        "object": "model",
        **shown,
        "modalities": modalities,
        "price_source": {"url": facts.source, "date": facts.date},
    }


def _row(one: Mapping[str, Any]) -> dict[str, str]:
    price, source = one["price"] or {}, one["price_source"] or {}
    long = price.get("long_prompt")
    cells = {
        "model": one["id"],
        "provider": one["provider"],
        "context": one["context_window"],
        "max output": one["max_output_tokens"],
        "input $/M": price.get("input"),
        "output $/M": price.get("output"),
        "long prompts": long and f"{_cell(long['input'])}, {_cell(long['output'])} above {long['above']}",
        "takes": ", ".join((one["modalities"] or {}).get("input", ())),
        "parameters": one["parameters"],
        "licence": one["license"],
        "price of": source.get("date") if price else None,
    }
    return {name: _cell(value) for name, value in cells.items()}


def _cell(value: object) -> str:
    if value is None or value == "":
        return _NONE
    return f"{value:g}" if isinstance(value, float) else str(value)
