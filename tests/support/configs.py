"""Configurations for tests: a small valid one, ways to change it, and what is wrong with the result."""

from __future__ import annotations

import copy
import json
import re
from itertools import pairwise
from typing import Any

from app.config import Config, ConfigError, Problem, load

ENVIRON = {
    "SLUICEGATE_CI_KEY": "sk-ci-0123456789",
    "SLUICEGATE_APP_KEY": "sk-app-0123456789",
    "SLUICEGATE_ADMIN_KEY": "sk-admin-0123456789",
    "OPENAI_API_KEY": "sk-openai-0123456789",
    "EXTRA_TOKEN": "Basic dXNlcjpwYXNz",
    "DATABASE_URL": "postgresql+asyncpg://user:hidden-word@db.example/ledger",
    "PROXY_URL": "http://user:hidden-word@proxy.example:3128",
}
"""What the references of the fixtures read."""

REMOVED = object()
"""Given as a value, the setting is taken out."""

SMALL: dict[str, Any] = {
    "deployments": [
        {
            "name": "one",
            "provider": "vllm",
            "base_url": "http://127.0.0.1:8000/v1",
            "model": "upstream-model",
            "context_window": 8192,
            "max_output_tokens": 1024,
            "price": {"input": 0.05, "output": 0.08},
        },
        {
            "name": "two",
            "provider": "openai",
            "base_url": "https://api.example.com/v1",
            "model": "other-model",
            "api_key": "env:OPENAI_API_KEY",
            "context_window": 8192,
            "max_output_tokens": 1024,
            "price": {"input": 0.15, "output": 0.60},
        },
    ],
    "models": [{"name": "chat", "stable": "one"}],
    "tenants": [{"name": "team", "keys": [{"name": "ci", "secret": "env:SLUICEGATE_CI_KEY"}]}],
}


def small(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The small configuration with settings changed by path: `{"deployments[0].price.input": 1}`."""
    document = copy.deepcopy(SMALL)
    for path, value in (changes or {}).items():
        _set(document, [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", path)], value)
    return document


def loaded(changes: dict[str, Any] | None = None, **options: Any) -> Config:
    """The small configuration, changed and loaded, settings that do nothing yet included."""
    return load(json.dumps(small(changes)), ENVIRON, **{"allow_unbuilt": True, **options})


def problems(changes: dict[str, Any] | None = None, **options: Any) -> list[Problem]:
    """What is wrong with the small configuration once it is changed."""
    return problems_of(json.dumps(small(changes)), **{"allow_unbuilt": True, **options})


def problems_of(text: str, **options: Any) -> list[Problem]:
    """What is wrong with a configuration's text; nothing where it loads."""
    try:
        load(text, options.pop("environ", ENVIRON), **options)
    except ConfigError as error:
        return error.problems
    return []


def messages(found: list[Problem]) -> list[str]:
    """Problems in short: `path message`."""
    return [f"{problem.path} {problem.message}" for problem in found]


def _set(node: Any, path: list[str | int], value: Any) -> None:
    for part, following in pairwise(path):
        if isinstance(node, dict) and part not in node:
            node[part] = [] if isinstance(following, int) else {}
        if isinstance(node, list) and part == len(node):
            node.append([] if isinstance(following, int) else {})
        node = node[part]
    if value is REMOVED:
        del node[path[-1]]
    elif isinstance(node, list) and path[-1] == len(node):
        node.append(value)
    else:
        node[path[-1]] = value
