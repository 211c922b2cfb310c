"""Write the tables of the reference pages from the declarations in the code: `make docs`; a test holds them equal.

A page keeps its own prose; what stands between `<!-- generated: NAME -->` and `<!-- end -->` is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from app import config
from app.cli import main as command_line
from app.config import Config, reference
from app.errors import CODES, Outcome
from app.logs import LOG_FIELDS
from app.semconv import SPAN_ATTRIBUTES
from app.telemetry import METRICS
from tests.support import matrix

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"(<!-- generated: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [head, tuple("---" for _ in head), *(tuple(cell.replace("|", r"\|") for cell in row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(text: str) -> str:
    """As code; nothing for nothing."""
    return f"`{text}`" if text else ""


def errors() -> str:
    """Every error code."""
    rows = (
        (code(row.name), str(row.status), code(row.type), code(row.outcome), row.meaning)
        for row in sorted(CODES.values(), key=lambda row: (row.status, row.name))
    )
    return table(("code", "status", "type", "outcome", "meaning"), rows)


def outcomes() -> str:
    """Every outcome and the codes that are counted as it."""
    counted = {outcome: [code(row.name) for row in CODES.values() if row.outcome is outcome] for outcome in Outcome}
    return table(("outcome", "codes"), ((code(outcome), ", ".join(names)) for outcome, names in counted.items()))


def metrics() -> str:
    """Every metric."""
    rows = (
        (code(row.name), row.kind, ", ".join(map(code, row.labels)), row.told)
        for row in sorted(METRICS, key=lambda row: row.name)
    )
    return table(("metric", "kind", "labels", "meaning"), rows)


def log_fields() -> str:
    """Every field of the access log, in the order in which they are written."""
    return table(("field", "meaning"), ((code(name), meaning) for name, meaning in LOG_FIELDS.items()))


def span_attributes() -> str:
    """Every attribute of a span."""
    return table(("attribute", "meaning"), ((code(name), meaning) for name, meaning in SPAN_ATTRIBUTES.items()))


def commands(command: click.Command = command_line, name: str = "sluicegate") -> dict[str, click.Command]:
    """Every command by the words that call it, groups before their members."""
    found = {name: command}
    if isinstance(command, click.Group):
        for word, member in sorted(command.commands.items()):
            found |= commands(member, f"{name} {word}")
    return found


def command_help() -> str:
    """The help of every command, under a heading of its own."""
    parts = []
    settings = command_line.context_settings
    for name, command in commands().items():
        context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100, **settings)
        parts.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def settings(section: str) -> str:
    """Every setting of a section of the configuration."""
    rows = (
        (
            code(row.path),
            row.type,
            row.default if row.default in reference.IN_WORDS else code(row.default),
            row.change,
            row.meaning,
        )
        for row in reference.settings()
        if re.match(rf"{section}\b", row.path)
    )
    return table(("setting", "type", "default", "takes effect", "meaning"), rows)


def catalogue() -> str:
    """Every model of the catalogue."""
    head = ("model", "provider", "context", "output", "price", "takes", "parameters", "licence", "source")
    return table(head, map(_known, config.catalogue()))


def _known(facts: config.Facts) -> tuple[str, ...]:
    window, output = (
        "" if number is None else f"{number:,}" for number in (facts.context_window, facts.max_output_tokens)
    )
    source = f"[{facts.source.split('/')[2]}]({facts.source}), {facts.date}"
    names = ", ".join(map(code, facts.models))
    takes = ", ".join(facts.input) + (" → embedding" if facts.output == ("embedding",) else "")
    facts_of_weights = facts.parameters or "", facts.license or ""
    return names, code(facts.provider), window, output, _price(facts.price or {}), takes, *facts_of_weights, source


def _price(price: Mapping[str, Any]) -> str:
    """Input / output, then what has a price of its own."""
    if not price:
        return ""
    parts = [f"{price['input']:g} / {price['output']:g}"]
    parts += [f"{words} {price[kind]:g}" for kind, words in _KINDS.items() if kind in price]
    long = price.get("long_prompt")
    return "; ".join(parts) + (f"; above {long['above']:,}: {_price(long)}" if long else "")


_KINDS = {"cached_input": "cached", "cache_write": "written"}


def provider_features() -> str:
    """What is tested on every surface over every provider."""
    return table(("feature", *map(code, matrix.PROVIDERS)), matrix.rows())


def provider_faults() -> str:
    """What an upstream's faults become."""
    return table(("fault of the upstream", "status", "code", "`retry-after`"), matrix.fault_rows())


GENERATORS: dict[str, Callable[[], str]] = {
    "catalogue": catalogue,
    "commands": command_help,
    "errors": errors,
    "log_fields": log_fields,
    "metrics": metrics,
    "outcomes": outcomes,
    "provider_faults": provider_faults,
    "provider_features": provider_features,
    "span_attributes": span_attributes,
    **{f"settings_{section}": partial(settings, section) for section in Config.model_fields},
}


def rendered(page: str) -> str:
    """A page with its generated blocks written anew."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{GENERATORS[block['name']]()}\n{block[3]}", page)


def main() -> None:
    """Rewrite every page that has generated blocks."""
    for path in sorted(DOCS.rglob("*.md")):
        page = path.read_text(encoding="utf-8")
        if (new := rendered(page)) != page:
            path.write_text(new, encoding="utf-8")
            print(f"wrote {path.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
