"""Where the detectors that are services are."""

from __future__ import annotations

import pytest

from tests.support.configs import ENVIRON, loaded, problems


def test_each_needs_little() -> None:
    """An address or a key; the rest has defaults."""
    secret = f"env:{next(iter(ENVIRON))}"
    azure = {"endpoint": "https://name.cognitiveservices.azure.com", "api_key": secret}
    safety = loaded({"safety": {"azure_content_safety": azure, "openai_moderation": {"api_key": secret}}}).safety
    assert safety.azure_content_safety is not None
    assert safety.azure_content_safety.checks == ("harm", "attack", "ungrounded", "protected_material")
    assert safety.openai_moderation is not None
    assert safety.openai_moderation.base_url == "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"azure_content_safety": {"endpoint": "https://x", "api_key": "plain"}}, "azure_content_safety.api_key"),
        ({"azure_content_safety": {"api_key": "env:NOBODY", "endpoint": "nowhere"}}, "azure_content_safety.endpoint"),
        ({"openai_moderation": {}}, "openai_moderation.api_key"),
        ({"guard_model": {"model": "chat", "format": "llamaguard"}}, "guard_model.format"),
        (
            {"guard_model": {"model": "chat", "format": "qwen3guard", "categories": {"S2": "crime"}}},
            "guard_model.categories.S2",
        ),
    ],
)
def test_what_is_wrong_is_told_at_its_place(section: dict[str, object], path: str) -> None:
    """With what would be right."""
    found = [problem.path for problem in problems({"safety": section})]
    assert f"safety.{path}" in found
