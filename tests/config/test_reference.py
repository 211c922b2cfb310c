"""The reference page tells about every setting of the models, and about nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from app.config import load
from app.config.reference import settings
from app.config.schema import Config
from scripts.docs import rendered
from tests.support.configs import ENVIRON

PAGE = Path("docs/configuration.md")
BY_PATH = {setting.path: setting for setting in settings()}


def test_the_page_has_one_row_for_every_setting_and_no_other_row() -> None:
    """Both ways."""
    rows = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), flags=re.MULTILINE)
    assert sorted(rows) == sorted(BY_PATH)


def test_the_page_is_up_to_date() -> None:
    """Types, defaults and meanings are those of the models."""
    page = PAGE.read_text()
    assert rendered(page) == page


def test_every_section_has_its_heading() -> None:
    """And nothing else has one of that kind."""
    assert re.findall(r"^## `(\w+)`$", PAGE.read_text(), flags=re.MULTILINE) == list(Config.model_fields)


def test_the_example_of_the_page_is_valid() -> None:
    """As it stands there, settings that do nothing yet refused."""
    (example,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert load(example, ENVIRON).models[0].name == yaml.safe_load(example)["models"][0]["name"]


def test_types_and_defaults_are_told_in_words() -> None:
    """Bounds, choices, lists, references, what is required."""
    told = {path: (setting.type, setting.default) for path, setting in BY_PATH.items()}
    assert told["server.port"] == ("whole number, 0 to 65535", "8080")
    assert told["server.ops"] == ("section", "null")
    assert told["server.body_timeout"] == ("duration, more than 0, at most 86400", "60")
    assert told["telemetry.log"] == ("`json` or `text`", "json")
    assert told["deployments"] == ("list of section", "required")
    assert told["deployments[].endpoints"] == ("list of URL", "[]")
    assert told["deployments[].api_key"] == ("reference", "null")
    assert told["deployments[].headers"] == ("text or reference by header", "{}")
    assert told["deployments[].price.input"] == ("US dollars", "required")
    assert told["models[].rollout.gates"] == ("section", "{error: {}}")
    assert told["tenants[].allow_shadow"] == ("true or false", "true")


def test_the_page_says_when_a_change_takes_effect() -> None:
    """On reload, on restart, or not yet; a part of a setting like the whole."""
    when = {path: setting.change for path, setting in BY_PATH.items()}
    assert when["server.max_in_flight"] == "reload"
    assert when["server.port"] == when["server.ops.port"] == "restart"
    assert when["server"] == ""
    assert {setting.change for setting in BY_PATH.values()} >= {"reload", "restart"}
