"""Which dialect speaks for which provider."""

from __future__ import annotations

from collections.abc import Mapping

from app.exchange import Provider
from app.pipeline.call import Dialect
from app.providers.anthropic.dialect import Anthropic
from app.providers.azure import AzureOpenAI
from app.providers.completions import Completions
from app.providers.gemini.dialect import Gemini
from app.providers.openai import OpenAI
from app.providers.vllm import Vllm

DIALECTS: Mapping[str, Dialect] = {
    Provider.ANTHROPIC: Anthropic(),
    Provider.AZURE_OPENAI: AzureOpenAI(),
    Provider.GEMINI: Gemini(),
    Provider.OPENAI: OpenAI(),
    Provider.VLLM: Vllm(),
    f"{Provider.OPENAI}/completions": Completions(OpenAI()),
    f"{Provider.VLLM}/completions": Completions(Vllm()),
}
