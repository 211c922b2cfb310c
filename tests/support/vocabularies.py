"""Real tokenizers for tests: those that ship in packages, and small ones of the other kinds, trained on the spot."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from app.providers.vocabulary import Vocabularies

SHIPPED = ("gpt2", "cl100k", "o200k")
_TEXT = [
    "The animal didn't cross the street because it was too tired.",
    "Das Tier kreuzte die Straße nicht, weil es zu müde war.",
    "这只动物没有过马路。因为它太累了。 그 동물은 너무 피곤해서 길을 건너지 않았다.",
    "def main() -> None:\n    print({'a': [1, 2, 3]})\n",
] * 4


@cache
def shipped() -> Vocabularies:
    """The vocabularies of the packages, loaded once."""
    return Vocabularies()


@cache
def trained() -> dict[str, Tokenizer]:
    """Byte-level BPE over NFC (as Qwen's), unigrams over NFKC (as XLM-R's), word pieces (as BERT's), bare bytes."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(_TEXT, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    unigrams = Tokenizer(models.Unigram())
    unigrams.normalizer = normalizers.NFKC()
    unigrams.pre_tokenizer = pre_tokenizers.Metaspace()
    unknown = "<unk>"
    unigrams.train_from_iterator(
        _TEXT,
        trainers.UnigramTrainer(vocab_size=200, unk_token=unknown, special_tokens=[unknown], show_progress=False),
    )
    pieces = Tokenizer(models.WordPiece(unk_token=unknown))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.train_from_iterator(
        _TEXT, trainers.WordPieceTrainer(vocab_size=200, special_tokens=[unknown], show_progress=False)
    )
    return {"bpe over NFC": bpe, "unigrams over NFKC": unigrams, "word pieces": pieces, "bytes over NFKC": _bytes()}


def _bytes() -> Tokenizer:
    """No merges at all: as many tokens as the normalised text has bytes, the worst that there can be."""
    made = Tokenizer(
        models.BPE(vocab={char: n for n, char in enumerate(pre_tokenizers.ByteLevel.alphabet())}, merges=[])
    )
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


@cache
def counters() -> dict[str, Callable[[str], int]]:
    """Every tokenizer as what counts a text."""
    made: dict[str, Callable[[str], int]] = {name: partial(most, name) for name in SHIPPED}
    return made | {name: partial(_count, tokenizer) for name, tokenizer in trained().items()}


def most(name: str, text: str) -> int:
    """The most tokens that a shipped vocabulary makes of a text."""
    return shipped().get(name)(text).most


def _count(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text).ids)
