"""The attributes' names are OpenTelemetry's own, or ours."""

from __future__ import annotations

import re

from opentelemetry.semconv._incubating.attributes import (
    error_attributes,
    gen_ai_attributes,
    http_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.semconv.schemas import Schemas

from app import semconv
from app.semconv import SCHEMA_URL, SPAN_ATTRIBUTES

OWN = "sluicegate."
MODULES = (error_attributes, gen_ai_attributes, http_attributes, server_attributes, url_attributes)


def test_names_stand_in_the_conventions_of_the_version_that_is_stated() -> None:
    """OpenTelemetry's own package, pinned, knows every name that is not ours, and none is deprecated there."""
    known = {value for module in MODULES for value in vars(module).values() if isinstance(value, str)}
    assert {name for name in SPAN_ATTRIBUTES if not name.startswith(OWN)} <= known
    assert not {"gen_ai.system", "gen_ai.usage.prompt_tokens", "gen_ai.prompt"} & set(SPAN_ATTRIBUTES)
    assert SCHEMA_URL in {schema.value for schema in Schemas}


def test_every_name_is_declared_once() -> None:
    """Constants and table are the same set; each meaning is a sentence."""
    constants = [value for name, value in vars(semconv).items() if name.isupper() and isinstance(value, str)]
    assert sorted(set(constants) - {SCHEMA_URL}) == sorted(SPAN_ATTRIBUTES)
    assert len(constants) == len(set(constants))
    assert all(re.fullmatch(r"[^\n]+\.", meaning) for meaning in SPAN_ATTRIBUTES.values())
