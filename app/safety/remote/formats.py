"""How language models that judge are asked, what they answer, and what their categories mean here.

Each model's own chat template writes the prompt that it was trained on; what a template wants beside the conversation
goes along as `chat_template_kwargs`, which vLLM passes on. Sources are the models' cards: Llama Guard 3 and 4 (hazards
S1 to S14 of MLCommons), Qwen3Guard-Gen, ShieldGemma, Granite Guardian 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import exp
from typing import Any, Final, NamedTuple

from app.exchange import JsonObject
from app.safety.detector import DetectorFailure, Finding, Severity

SURE: Final = 0.9
"""From this probability on a hit is a 6, below it a 4; without probabilities every hit is a 6."""
LIKELY: Final = 0.5

LLAMA_GUARD: Final = {
    "S1": "violence", "S3": "sexual", "S4": "sexual", "S7": "pii", "S8": "protected_material", "S9": "violence",
    "S10": "hate", "S11": "self_harm", "S12": "sexual", "S14": "jailbreak",
}  # fmt: skip
"""Without S2 (crimes without violence), S5 (defamation), S6 (advice), S13 (elections), which are none of ours."""
QWEN3GUARD: Final = {
    "Violent": "violence", "Sexual Content or Sexual Acts": "sexual", "PII": "pii",
    "Personally Identifiable Information": "pii", "Suicide & Self-Harm": "self_harm", "Unethical Acts": "hate",
    "Copyright Violation": "protected_material", "Jailbreak": "jailbreak",
}  # fmt: skip
"""Without illegal acts that are not violent, and politically sensitive topics."""
SHIELDGEMMA: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "Dangerous Content": (
        ("violence", "self_harm"),
        (
            "content that harms oneself and/or others (e.g., accessing or building firearms and explosive devices, "
            "promotion of terrorism, instructions for suicide)."
        ),
    ),
    "Harassment": (
        ("hate",),
        (
            "content that is malicious, intimidating, bullying, or abusive content targeting another individual (e.g., "
            "physical threats, denial of tragic events, disparaging victims of violence)."
        ),
    ),
    "Hate Speech": (
        ("hate",),
        (
            "content that expresses, incites, promotes, or disseminates hate based on race, gender, ethnicity, "
            "religion, "
            "national origin, sexual orientation, disability status, or caste targeting other protected groups (e.g., "
            "racial slurs, justification of discrimination, dehumanization towards minority groups, supremacist "
            "organizations)."
        ),
    ),
    "Sexually Explicit Information": (
        ("sexual",),
        (
            "content that contains references to sexual acts, or other lewd content (e.g., sexually explicit "
            "descriptions, content aiming to arouse)."
        ),
    ),
}
"""Its four policies, in the words that it was trained on; one question each."""
GRANITE: Final[Mapping[str, tuple[str, str | None]]] = {
    "hate": ("social_bias", None),
    "sexual": ("sexual_content", None),
    "violence": ("violence", None),
    "self_harm": ("self_harm", "The message encourages, plans or explains suicide, self-injury or an eating disorder."),
}
"""Its name of a risk, and the definition of one that it does not know by name; one question each."""


class Question(NamedTuple):
    """One call of the model, and what its answer says."""

    body: JsonObject
    read: Callable[[str, float | None], list[Finding]]
    """The answer's text and, where the model tells probabilities, that of its first word that decides."""


class Asked(NamedTuple):
    """What is judged: a conversation whose last message is the one that counts."""

    messages: list[JsonObject]
    stage: str
    documents: tuple[str, ...]
    passage: int | None


Format = Callable[[Asked, Mapping[str, str], Severity], list[Question]]


def llama_guard(asked: Asked, categories: Mapping[str, str], _: Severity) -> list[Question]:
    """`safe`, or `unsafe` and on the next line the hazards."""
    known = {**LLAMA_GUARD, **categories}

    def read(text: str, probability: float | None) -> list[Finding]:
        lines = text.split()
        if not lines or lines[0] not in ("safe", "unsafe"):
            raise DetectorFailure("the guard model said neither safe nor unsafe")
        if lines[0] == "safe":
            return []
        named = {known[one] for one in " ".join(lines[1:]).replace(",", " ").split() if one in known}
        return [_hit(category, probability, asked.passage) for category in sorted(named)]

    return [Question({"messages": asked.messages, "max_tokens": 24}, read)]


def qwen3guard(asked: Asked, categories: Mapping[str, str], controversial: Severity) -> list[Question]:
    """`Safety: Unsafe`, then `Categories: Violent, PII`."""
    known = {**QWEN3GUARD, **categories}

    def read(text: str, _: float | None) -> list[Finding]:
        said = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        verdict = said.get("Safety", "").strip()
        severities: dict[str, Severity] = {"Safe": 0, "Controversial": controversial, "Unsafe": 6}
        if verdict not in severities:
            raise DetectorFailure("the guard model gave no verdict")
        severity = severities[verdict]
        if not severity:
            return []
        names = (one.strip() for one in said.get("Categories", "").split(","))
        named = sorted({known[one] for one in names if one in known})
        return [Finding(category, severity, None, asked.passage) for category in named]

    return [Question({"messages": asked.messages, "max_tokens": 64}, read)]


def shieldgemma(asked: Asked, _: Mapping[str, str], __: Severity) -> list[Question]:
    """`Yes` or `No` to each policy."""
    what = (
        "The prompt shall not contain or seek generation of"
        if asked.stage == "prompt"
        else "The chatbot shall not generate"
    )
    questions = []
    for policy, (ours, forbidden) in SHIELDGEMMA.items():
        guideline = f'"No {policy}": {what} {forbidden}'
        body = {"messages": asked.messages, "max_tokens": 4, "chat_template_kwargs": {"guideline": guideline}}
        questions.append(Question(body, _yes(ours, asked.passage)))
    return questions


def granite_guardian(asked: Asked, categories: Mapping[str, str], _: Severity) -> list[Question]:
    """`Yes` or `No` to each risk; `categories` are more of its risks."""
    wanted = [((ours,), risk, definition) for ours, (risk, definition) in GRANITE.items()]
    wanted += [((ours,), risk, None) for risk, ours in categories.items()]
    if asked.stage == "prompt":
        wanted.append((("jailbreak",), "jailbreak", None))
    questions = []
    for ours, risk, definition in wanted:
        about = {"risk_name": risk} if definition is None else {"risk_name": risk, "risk_definition": definition}
        body = {"messages": asked.messages, "max_tokens": 16, "chat_template_kwargs": {"guardian_config": about}}
        questions.append(Question(body, _yes(ours, asked.passage)))
    if asked.stage == "completion" and asked.documents:
        context = {"role": "context", "content": "\n\n".join(asked.documents)}
        kwargs = {"guardian_config": {"risk_name": "groundedness"}}
        body = {"messages": [context, asked.messages[-1]], "max_tokens": 16, "chat_template_kwargs": kwargs}
        questions.append(Question(body, _yes(("ungrounded",), asked.passage)))
    return questions


FORMATS: Final[Mapping[str, Format]] = {
    "llama_guard": llama_guard,
    "qwen3guard": qwen3guard,
    "shieldgemma": shieldgemma,
    "granite_guardian": granite_guardian,
}


def deciding(doc: Any) -> float | None:
    """The probability of the first word that decides, from the answer's `logprobs`; None where there are none."""
    try:
        tokens = doc["choices"][0]["logprobs"]["content"]
        for token in tokens:
            word = token["token"].strip().lower()
            if word in ("unsafe", "safe", "un", "yes", "no"):
                return exp(min(0.0, float(token["logprob"])))
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return None


def _yes(ours: tuple[str, ...], passage: int | None) -> Callable[[str, float | None], list[Finding]]:
    def read(text: str, probability: float | None) -> list[Finding]:
        bare = text.lower().replace("<score>", " ").replace("</score>", " ").replace(",", " ").replace(".", " ")
        word = next((one for one in bare.split() if one in ("yes", "no")), None)
        if word is None:
            raise DetectorFailure("the guard model said neither yes nor no")
        return [_hit(category, probability, passage) for category in ours] if word == "yes" else []

    return read


def _hit(category: str, probability: float | None, passage: int | None) -> Finding:
    severity: Severity = 6 if probability is None or probability >= SURE else 4
    return Finding(category, severity, probability, passage)
