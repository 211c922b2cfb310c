"""What language models that judge are asked, and what their answers mean."""

from __future__ import annotations

from typing import Any

import pytest

from app.safety.detector import DetectorFailure, Finding
from app.safety.remote.formats import (
    FORMATS,
    Asked,
    deciding,
    granite_guardian,
    llama_guard,
    qwen3guard,
    shieldgemma,
)

USER: dict[str, Any] = {"role": "user", "content": "hello"}
PROMPT = Asked([USER], "prompt", (), None)
ANSWER = Asked([USER, {"role": "assistant", "content": "hi"}], "completion", ("a report",), 2)


def read(
    name: str, text: str, probability: float | None = None, asked: Asked = PROMPT, **categories: str
) -> list[Finding]:
    """What the first question of a format reads out of an answer."""
    return FORMATS[name](asked, categories, 2)[0].read(text, probability)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("safe", []),
        ("\n\nsafe", []),
        ("\n\nunsafe\nS1,S10", ["hate", "violence"]),
        ("unsafe\nS11, S12", ["self_harm", "sexual"]),
        ("unsafe\nS2", []),
    ],
)
def test_llama_guard(text: str, found: list[str]) -> None:
    """MLCommons' hazards, those that are categories of ours."""
    assert [(one.category, one.severity) for one in read("llama_guard", text)] == [(name, 6) for name in found]


def test_an_operator_maps_what_is_not_mapped() -> None:
    """`safety.guard_model.categories`."""
    assert read("llama_guard", "unsafe\nS2", S2="violence") == [Finding("violence", 6, None, None)]
    assert read("llama_guard", "unsafe\nS10", S10="sexual") == [Finding("sexual", 6, None, None)]


def test_how_sure_a_model_is_counts() -> None:
    """A hit of less than nine in ten is a 4."""
    assert read("llama_guard", "unsafe\nS10", 0.7) == [Finding("hate", 4, 0.7, None)]
    assert read("llama_guard", "unsafe\nS10", 0.97, ANSWER) == [Finding("hate", 6, 0.97, 2)]


def test_qwen3guard() -> None:
    """Three verdicts; of controversial texts the operator says what they are."""
    assert read("qwen3guard", "Safety: Safe\nCategories: None") == []
    unsafe = read("qwen3guard", "Safety: Unsafe\nCategories: Violent, Suicide & Self-Harm\nRefusal: No")
    assert [(one.category, one.severity) for one in unsafe] == [("self_harm", 6), ("violence", 6)]
    assert read("qwen3guard", "Safety: Controversial\nCategories: Jailbreak") == [Finding("jailbreak", 2, None, None)]
    (strict,) = qwen3guard(PROMPT, {}, 4)
    assert strict.read("Safety: Controversial\nCategories: PII", None) == [Finding("pii", 4, None, None)]


def test_shieldgemma_is_asked_about_each_policy() -> None:
    """In the words that it was trained on, for prompts and for answers."""
    prompts, answers = shieldgemma(PROMPT, {}, 2), shieldgemma(ANSWER, {}, 2)
    guidelines = [one.body["chat_template_kwargs"]["guideline"] for one in prompts]
    assert len(guidelines) == 4
    assert guidelines[2].startswith('"No Hate Speech": The prompt shall not contain or seek generation of content that')
    assert "The chatbot shall not generate" in answers[0].body["chat_template_kwargs"]["guideline"]
    assert [one.category for one in prompts[0].read("Yes", 0.8)] == ["violence", "self_harm"]
    assert prompts[3].read("No, it does not.", 0.9) == []


def test_granite_guardian_is_asked_about_each_risk() -> None:
    """Attacks of prompts, documents of answers, and what the operator adds."""
    risks = [
        one.body["chat_template_kwargs"]["guardian_config"]["risk_name"] for one in granite_guardian(PROMPT, {}, 2)
    ]
    assert risks == ["social_bias", "sexual_content", "violence", "self_harm", "jailbreak"]
    answers = granite_guardian(ANSWER, {"profanity": "hate"}, 2)
    assert answers[-1].body["messages"][0] == {"role": "context", "content": "a report"}
    assert answers[-1].read("<score> yes </score>", None) == [Finding("ungrounded", 6, None, 2)]
    assert answers[-2].read("Yes\n<confidence> High </confidence>", None) == [Finding("hate", 6, None, 2)]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("text", ["", "I cannot help with that", "{}"])
def test_nonsense_is_a_failure(name: str, text: str) -> None:
    """Never a clean bill of health."""
    with pytest.raises(DetectorFailure):
        read(name, text)


def test_probabilities_come_from_the_word_that_decides() -> None:
    """Line breaks in front of it do not count; a model without probabilities has none."""
    tokens = [{"token": "\n\n", "logprob": 0.0}, {"token": "unsafe", "logprob": -0.105}, {"token": "S1", "logprob": -3}]
    assert deciding({"choices": [{"logprobs": {"content": tokens}}]}) == pytest.approx(0.9, abs=0.01)
    assert deciding({"choices": [{"logprobs": None}]}) is None
    assert llama_guard(PROMPT, {}, 2)[0].body["messages"] == [USER]
