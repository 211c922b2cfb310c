"""Prompt flow through the gateway: a prompty file with an OpenAI connection; run by `__main__`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from promptflow.core import OpenAIModelConfiguration, Prompty  # type: ignore[import-not-found]  # in an environment of its own

from scripts.clients.setting import KEY, PROVIDERS, URL, check, model

PROMPTY = """---
name: echo
model:
  api: chat
  parameters:
    max_tokens: 50
inputs:
  question:
    type: string
---
system:
Be brief.

user:
{{question}}
"""

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "echo.prompty"
    file.write_text(PROMPTY, encoding="utf-8")
    for one in PROVIDERS:
        where = OpenAIModelConfiguration(base_url=f"{URL}/v1", api_key=KEY, model=model(one))
        check(Prompty.load(source=file, model={"configuration": where})(question="one two"), "one two")
print(f"Prompty over {', '.join(PROVIDERS)}: system and user, inputs, parameters")
