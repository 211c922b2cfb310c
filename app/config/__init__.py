"""Configuration: one YAML file, typed and validated as a whole.

`load` turns a file into a `Config` or raises a `ConfigError` that holds every problem with its place, its line and
what would be right. The sections stand one room each: `service`, `deployments`, `models`, `guarding`, `tenancy`.
"""

from __future__ import annotations

from app.config.addresses import is_loopback
from app.config.catalogue import Facts
from app.config.catalogue import entries as catalogue
from app.config.deployments import Catalog, Deployment, LongPrompt, Price
from app.config.detectors import AzureContentSafety, GuardModel, OpenAIModeration
from app.config.extras import compares_meaning, uses_models
from app.config.fields import restart_only
from app.config.formats import FORMATS
from app.config.guarding import CompletionStage, Exemption, Guard, Stage, Stream
from app.config.load import load, parse_rollout, read, read_rollout, secret_files
from app.config.models import Model, Rollout, TokenLimit
from app.config.problems import ConfigError, Problem, as_json, describe
from app.config.redact import redacted, version
from app.config.schema import Config
from app.config.secret import KeySecret, Secret
from app.config.service import Admin, Safety
from app.config.templates import SECTIONS, Template, named
from app.config.tenancy import Key, Tenant
from app.config.terms import SEPARATORS

__all__ = [
    "FORMATS",
    "SECTIONS",
    "SEPARATORS",
    "Admin",
    "AzureContentSafety",
    "Catalog",
    "CompletionStage",
    "Config",
    "ConfigError",
    "Deployment",
    "Exemption",
    "Facts",
    "Guard",
    "GuardModel",
    "Key",
    "KeySecret",
    "LongPrompt",
    "Model",
    "OpenAIModeration",
    "Price",
    "Problem",
    "Rollout",
    "Safety",
    "Secret",
    "Stage",
    "Stream",
    "Template",
    "Tenant",
    "TokenLimit",
    "as_json",
    "catalogue",
    "compares_meaning",
    "describe",
    "is_loopback",
    "load",
    "named",
    "parse_rollout",
    "read",
    "read_rollout",
    "redacted",
    "restart_only",
    "secret_files",
    "uses_models",
    "version",
]
