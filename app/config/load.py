"""From a file to a validated `Config`: read, parse, validate every part, check the whole, report every problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from app.config import raw
from app.config.checks import Draft, check
from app.config.explain import explain, nearest
from app.config.fields import section
from app.config.models import Rollout
from app.config.not_yet import unbuilt
from app.config.problems import ConfigError, Loc, Problem, show
from app.config.raw import Document
from app.config.schema import Config
from app.config.secret import files
from app.config.templates import label_of
from app.config.terms import term_files

_NAMED = ("deployments", "models", "templates", "guards", "tenants")


def _adapter(annotation: Any, metadata: Sequence[Any] = ()) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[(annotation, *metadata)] if metadata else annotation)


_SECTIONS = {name: _adapter(field.annotation, field.metadata) for name, field in Config.model_fields.items()}
_ELEMENTS = {name: _adapter(section(Config.model_fields[name].annotation)) for name in _NAMED}


def load(
    source: Path | str,
    environ: Mapping[str, str],
    *,
    overrides: Mapping[str, object] | None = None,
    allow_unbuilt: bool = False,
) -> Config:
    """Read a configuration from a file (`Path`) or from text (`str`).

    `environ` is what `env:NAME` reads. `overrides` are settings of the command line that win over the file, by path:
    `{"server.workers": 4}`. Settings that do nothing yet are refused unless `allow_unbuilt`.
    Raises `ConfigError` with every problem that was found.
    """
    document = raw.parse(read(source) if isinstance(source, Path) else source)
    if not isinstance(document.root, dict):
        message = (
            "the file is empty"
            if document.root is None
            else "the file must hold sections such as `server:` and `models:`"
        )
        raise ConfigError([Problem("", None, message, "The reference lists every setting and an example.")])
    for path, value in (overrides or {}).items():
        _override(document.root, path.split("."), value)
    config, problems = _validate(document, environ)
    if not allow_unbuilt:
        wrong = {problem.path for problem in problems}
        problems += [problem for problem in unbuilt(document) if problem.path not in wrong]
    if problems or config is None:
        raise ConfigError(sorted(set(problems), key=lambda problem: (problem.line or 0, problem.path)))
    return config


def read_rollout(path: Path) -> Rollout:
    """A rollout's settings from a file of their own, as they stand under `models[].rollout`, with or without that name.

    Raises `ConfigError`.
    """
    return parse_rollout(read(path))


def parse_rollout(text: str) -> Rollout:
    """The same from text, YAML or JSON. Raises `ConfigError`."""
    document = raw.parse(text)
    root = document.root
    prefix: Loc = ()
    if isinstance(root, dict) and root.keys() == {"rollout"}:
        root, prefix = root["rollout"], ("rollout",)
    try:
        return TypeAdapter(Rollout).validate_python(root)
    except ValidationError as error:
        raise ConfigError(explain(error, prefix, document)) from None


def read(path: Path) -> str:
    """A configuration file's text. Raises `ConfigError`: absent, not readable, not UTF-8, too large."""
    try:
        with path.open("rb") as file:
            content = file.read(raw.MAX_BYTES + 1)
        return content.decode()
    except OSError as error:
        problem = Problem("", None, f"{path} cannot be read: {error.strerror}", "Check the path and its permissions.")
    except UnicodeDecodeError:
        problem = Problem("", None, f"{path} is not UTF-8 text")
    raise ConfigError([problem])


def secret_files(text: str) -> frozenset[Path] | None:
    """The files that a configuration's text refers to: secrets with `file:`, terms; None where it is not YAML."""
    try:
        root = raw.parse(text).root
        return frozenset((*files(root), *term_files(root)))
    except ConfigError:
        return None


def _override(root: dict[str, Any], path: list[str], value: object) -> None:
    for name in path[:-1]:
        inner = root.get(name)
        root[name] = dict(inner) if isinstance(inner, dict) else {}
        root = root[name]
    root[path[-1]] = value


def _validate(document: Document, environ: Mapping[str, str]) -> tuple[Config | None, list[Problem]]:
    sections = {name: value for name, value in document.root.items() if value is not None}
    parts, problems = _parts(sections, document, environ)
    for loc, message, hint in check(_draft(sections, parts)):
        problems.append(Problem(show(loc), document.line(loc), message, hint))
    if problems:
        return None, problems
    whole = {name: tuple(part.values()) if name in _NAMED else part for name, part in parts.items()}
    return Config.model_validate(whole), []


def _parts(
    sections: Mapping[str, Any], document: Document, environ: Mapping[str, str]
) -> tuple[dict[str, Any], list[Problem]]:
    """Every section that is valid; of the named lists, every valid element by its index."""
    parts: dict[str, Any] = {}
    problems: list[Problem] = []

    def validate(adapter: TypeAdapter[Any], value: object, loc: Loc) -> Any:
        try:
            return adapter.validate_python(value, context=environ)
        except ValidationError as error:
            problems.extend(explain(error, loc, document))
            return None

    problems.extend(
        Problem(show((name,)), document.line((name,)), "is not a section", nearest(name, Config.model_fields))
        for name in sections.keys() - Config.model_fields.keys()
    )
    for name, field in Config.model_fields.items():
        if name not in sections:
            if field.is_required():
                problems.append(Problem(name, None, "is required", field.description))
        elif name in _NAMED and isinstance(sections[name], tuple) and sections[name]:
            found = {
                index: validate(_ELEMENTS[name], value, (name, index)) for index, value in enumerate(sections[name])
            }
            parts[name] = {index: element for index, element in found.items() if element is not None}
        else:
            part = validate(_SECTIONS[name], sections[name], (name,))
            if part is not None:
                parts[name] = dict(enumerate(part)) if name in _NAMED else part
    return parts, problems


def _draft(sections: Mapping[str, Any], parts: Mapping[str, Any]) -> Draft:
    def part(name: str) -> Any:
        """The valid section, its default where the file has none, or None."""
        return parts.get(name) if name in sections else Config.model_fields[name].default

    return Draft(
        server=part("server"),
        stores=part("stores"),
        admin=part("admin"),
        safety=part("safety"),
        budgets=part("budgets"),
        deployments=parts.get("deployments", {}),
        models=parts.get("models", {}),
        templates=parts.get("templates", {}),
        guards=parts.get("guards", {}),
        tenants=parts.get("tenants", {}),
        names={name: _names(name, sections.get(name)) for name in _NAMED},
    )


def _names(section: str, elements: object) -> tuple[str | None, ...]:
    """What elements are called: templates by their version too, for several share a name."""
    named = (
        (label_of(element) if section == "templates" else element.get("name")) if isinstance(element, dict) else None
        for element in (elements if isinstance(elements, tuple) else ())
    )
    return tuple(name if isinstance(name, str) else None for name in named)
