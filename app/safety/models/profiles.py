"""The profiles: which files of weights and which encoders an engine is made of."""

from __future__ import annotations

from app.safety.models.encoders import E5, Use, language_of
from app.safety.models.engine import Encoder, Engine
from app.safety.models.grounding import Grounding
from app.safety.models.heads import BUILT, Heads

ENCODERS: dict[str, type[Use | E5]] = {"use": Use, "e5": E5}


def load(profile: str) -> Engine:
    """An engine with everything in memory that it needs; takes seconds."""
    heads = Heads.load(BUILT / f"{profile}.npz")
    encoders: dict[str, Encoder] = {name: ENCODERS[name]() for name in heads.encoders}
    for encode in encoders.values():
        encode(["warm"])
    language = language_of() if encoders else str
    return Engine(heads, encoders, language, Grounding.load(BUILT / "grounded.npz"))
