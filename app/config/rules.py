"""What must hold inside one deployment, model, guard or tenant, and between it and the names it mentions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from app.config.deployments import Deployment
from app.config.explain import nearest
from app.config.guarding import Guard
from app.config.models import Gates, Model, Rollout, SlowGate
from app.config.problems import Loc
from app.config.templates import SECTIONS, Template, named
from app.config.tenancy import Budget, Tenant

_CREDENTIAL = re.compile(r"authorization|cookie|api-?key|token|secret|password|credential")

Finding = tuple[Loc, str, str | None]
"""Where, what is wrong, what would be right."""
Names = Mapping[str, Sequence[str]]
"""Every name that stands in the file, by section, whether its element is valid or not."""


def once(names: Iterable[tuple[Loc, str]]) -> Iterator[Finding]:
    """Names that were used before."""
    seen: dict[str, Loc] = {}
    for loc, name in names:
        if name in seen:
            yield loc, f"`{name}` is used twice", "Give each its own name."
        seen.setdefault(name, loc)


def deployment(loc: Loc, one: Deployment, names: Names) -> Iterator[Finding]:
    """Exactly one way to name endpoints; an answer fits into the window; credentials only where they stay hidden."""
    if (one.base_url is None) == (not one.endpoints):
        yield (
            loc,
            "needs either `base_url` or `endpoints`",
            "Write `base_url: http://host:8000/v1`, or `endpoints: [url, url]` for replicas.",
        )
    yield from _repeated((*loc, "endpoints"), one.endpoints)
    if one.max_output_tokens > one.context_window:
        text = f"is more than `context_window` ({one.context_window})"
        yield (*loc, "max_output_tokens"), text, "An answer has to fit into the window."
    if one.tokenizer == "upstream" and one.provider != "vllm":
        yield (*loc, "tokenizer"), f"asks `{one.provider}`, which counts no tokens", "Only `vllm` does."
    for name, value in one.headers.items():
        if isinstance(value, str) and _CREDENTIAL.search(name):
            yield (*loc, "headers", name), "is a credential in plain text", "Write `env:NAME` or `file:/path`."
    yield from _of_provider(loc, one)
    yield from _template((*loc, "template"), one.template, names)
    if one.api_key is not None and "authorization" in one.headers:
        yield (*loc, "headers", "authorization"), "contradicts `api_key`", "Keep one of them."


def _of_provider(loc: Loc, one: Deployment) -> Iterator[Finding]:
    """Settings that only some providers read."""
    yield from _repeated((*loc, "drop_params"), one.drop_params)
    if one.api_version is not None and one.provider != "azure_openai":
        yield (*loc, "api_version"), f"means nothing to provider `{one.provider}`", "Remove it."
    if one.output_cap is not None and one.provider not in ("vllm", "openai", "azure_openai"):
        yield (*loc, "output_cap"), f"means nothing to provider `{one.provider}`", "Remove it."
    if one.prompt_format is not None and one.provider not in ("vllm", "openai"):
        hint = "Remove it: only `vllm` and `openai` have `/completions` to write for."
        yield (*loc, "prompt_format"), f"means nothing to provider `{one.provider}`", hint
    if one.prompt_format is not None and one.output_cap == "max_completion_tokens":
        yield (*loc, "output_cap"), "is unknown to `/completions`, for which `prompt_format` writes", "Remove it."


def model(loc: Loc, one: Model, names: Names) -> Iterator[Finding]:
    """Every deployment and guard that is named exists, none twice; a candidate has a weight and the other way round."""
    named = [("stable", one.stable), ("candidate", one.candidate)]
    named += [("shadow.to", one.shadow.to if one.shadow is not None else None)]
    for setting, name in named:
        yield from _known((*loc, *setting.split(".")), name, "deployment", names["deployments"])
    for index, name in enumerate(one.fallbacks):
        yield from _known((*loc, "fallbacks", index), name, "deployment", names["deployments"])
    yield from _known((*loc, "guard"), one.guard, "guard", names["guards"])
    yield from _template((*loc, "template"), one.template, names)
    yield from _repeated((*loc, "fallbacks"), one.fallbacks)
    yield from _summaries(loc, one, names)
    yield from _repeated((*loc, "drop_params"), one.drop_params)
    yield from _arms(loc, one)
    yield from budgets((*loc, "budgets"), one.budgets)
    if one.rollout is not None:
        yield from _rollout((*loc, "rollout"), one.rollout)


def guard(loc: Loc, one: Guard, names: Names) -> Iterator[Finding]:
    """A guard looks at something, with each detector once; what it is told to do can be done."""
    if one.prompt is None and one.completion is None:
        yield loc, "looks at nothing", "Write `prompt:`, `completion:` or both."
    for name, stage in (("prompt", one.prompt), ("completion", one.completion)):
        if stage is not None:
            yield from _repeated((*loc, name, "detectors"), stage.detectors)
    yield from _template((*loc, "safety_prompt"), one.safety_prompt, names)
    yield from _terms(loc, one)
    yield from once(((*loc, "exemptions", index, "tenant"), each.tenant) for index, each in enumerate(one.exemptions))
    for index, each in enumerate(one.exemptions):
        yield from _known((*loc, "exemptions", index, "tenant"), each.tenant, "tenant", names["tenants"])
    yield from _redactions(loc, one)


def _terms(loc: Loc, one: Guard) -> Iterator[Finding]:
    used = any(stage is not None and "rules" in stage.detectors for stage in (one.prompt, one.completion))
    for name in ("blocklist", "blocklist_files"):
        if getattr(one, name) and not used:
            yield (*loc, name), "is looked for by nobody", "Add `rules` to `detectors`."


def _redactions(loc: Loc, one: Guard) -> Iterator[Finding]:
    """What has left cannot be replaced any more."""
    stage = one.completion
    if stage is None or stage.stream.mode != "async":
        return
    for place, actions in (
        ((*loc, "completion", "actions"), stage.actions),
        *(((*loc, "exemptions", index, "actions"), each.actions) for index, each in enumerate(one.exemptions)),
    ):
        for category, action in actions.items():
            if action == "redact":
                hint = "Use `mode: strict`, or another action."
                yield (
                    (*place, category),
                    "cannot redact: `stream.mode: async` lets text out before it is looked at",
                    hint,
                )


def tenant(loc: Loc, one: Tenant, names: Names) -> Iterator[Finding]:
    """Its keys have names of their own and may use models that exist."""
    if one.name == "other":
        yield (
            (*loc, "name"),
            "is taken: metrics call the tenants beyond `telemetry.metrics_tenants` so",
            "Choose another name.",
        )
    yield from once(((*loc, "keys", index, "name"), key.name) for index, key in enumerate(one.keys))
    yield from budgets((*loc, "budgets"), one.budgets)
    for index, key in enumerate(one.keys):
        place = (*loc, "keys", index)
        yield from budgets((*place, "budgets"), key.budgets)
        for position, name in enumerate(key.models or ()):
            yield from _known((*place, "models", position), name, "model", names["models"])


def budgets(loc: Loc, several: Sequence[Budget]) -> Iterator[Finding]:
    """Each budget allows something countable, and no window has two answers."""
    seen: set[tuple[str, str]] = set()
    for index, budget in enumerate(several):
        units = [unit for unit in ("tokens", "usd") if getattr(budget, unit) is not None]
        if not units:
            yield (*loc, index), "limits nothing", "Write `tokens:`, `usd:` or both."
        for unit in units:
            if (budget.window, unit) in seen:
                yield (
                    (*loc, index, unit),
                    f"is the second budget in {unit} for a {budget.window}",
                    "Keep the lower one.",
                )
            seen.add((budget.window, unit))


def template(loc: Loc, one: Template) -> Iterator[Finding]:
    """A template says something."""
    if all(getattr(one, section) is None for section in SECTIONS):
        yield loc, "says nothing", f"Write at least one of {', '.join(f'`{section}:`' for section in SECTIONS)}."


def _template(loc: Loc, reference: str | None, names: Names) -> Iterator[Finding]:
    """A template that is named exists, and it is clear which version is meant."""
    if reference is None:
        return
    found = named(reference, names["templates"])
    if len(found) > 1:
        hint = f"Write {' or '.join(f'`{label}`' for label in found)}."
        yield loc, f"names the template `{reference}`, which has {len(found)} versions", hint
    elif not found:
        yield from _known(loc, reference, "template", names["templates"])


def _known(loc: Loc, name: str | None, kind: str, known: Sequence[str]) -> Iterator[Finding]:
    if name is not None and name not in known:
        hint = nearest(name, known) if known else f"The file has no {kind}s."
        yield loc, f"names the {kind} `{name}`, which does not exist", hint


def _repeated(loc: Loc, values: Sequence[str]) -> Iterator[Finding]:
    for value, count in Counter(values).items():
        if count > 1:
            yield loc, f"holds `{value}` {count} times", "Write it once."


def _arms(loc: Loc, one: Model) -> Iterator[Finding]:
    if one.candidate is not None and one.weight is None:
        yield (
            loc,
            "has a candidate without a weight",
            "Write `weight:`, the candidate's percent of the traffic; 0 gives it none.",
        )
    if one.candidate is None and one.weight is not None:
        yield (*loc, "weight"), "has no candidate to go to", "Write `candidate:`, or remove the weight."
    if one.candidate is None and one.rollout is not None:
        yield (*loc, "rollout"), "has no candidate to roll out", "Write `candidate:`, or remove the rollout."
    if one.candidate == one.stable:
        yield (*loc, "candidate"), "is the stable deployment itself", "Name the other version."
    if one.stable in one.fallbacks:
        yield (*loc, "fallbacks"), "holds the stable deployment", "A fallback has to be another deployment."
    if one.shadow is not None and one.shadow.to == one.stable:
        yield (*loc, "shadow", "to"), "is the stable deployment itself", "A shadow has to be another deployment."


def _summaries(loc: Loc, one: Model, names: Names) -> Iterator[Finding]:
    yield from _known((*loc, "summarise_with"), one.summarise_with, "model", names["models"])
    if one.token_limit == "summarise" and one.summarise_with is None:  # noqa: S105 - no password
        yield loc, "summarises, and names no model that does it", "Write `summarise_with:`, the name of a model."
    if one.token_limit != "summarise" and one.summarise_with is not None:  # noqa: S105 - no password
        text = "does nothing without `token_limit: summarise`"
        yield (*loc, "summarise_with"), text, "Write both, or remove it."


def _rollout(loc: Loc, one: Rollout) -> Iterator[Finding]:
    for index in range(1, len(one.steps)):
        if one.steps[index].weight <= one.steps[index - 1].weight:
            yield (
                (*loc, "steps", index),
                "is not above the step before it",
                "Steps rise, for example `[1, 5, 25, 50, 100]`.",
            )
    for index, step in enumerate(one.steps):
        if one.patience is not None and step.hold > one.patience:
            yield (
                (*loc, "steps", index, "hold"),
                "is longer than the rollout's `patience`",
                "Wait longer, or hold less.",
            )
    yield from _gates((*loc, "gates"), one.gates)


def _gates(loc: Loc, gates: Gates) -> Iterator[Finding]:
    present = [(name, gate) for name, gate in gates if gate is not None]
    if not present:
        yield loc, "watches nothing", "Write at least `{error: {}}`."
    for name, gate in present:
        if isinstance(gate, SlowGate) and (gate.seconds is None) == (gate.quantile is None):
            yield (*loc, name), "needs either `seconds` or `quantile`", "For example `{seconds: 2}`."
        if gate.prove and not gate.margin:
            yield (*loc, name, "prove"), "needs a `margin`", "Equality can never be shown: say what is close enough."
    given = sum(gate.share or 0.0 for _, gate in present)
    if given > 1 + 1e-9 or (given > 1 - 1e-9 and any(gate.share is None for _, gate in present)):
        yield (
            loc,
            f"share out {given:g} of `alpha`",
            "All shares together are at most 1, and something is left for the others.",
        )
