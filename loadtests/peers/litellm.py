"""LiteLLM's proxy."""

from __future__ import annotations

import json

from loadtests.peers.base import INSTALLED, Setup, Site, missing, wheel_version
from loadtests.server import Launch
from loadtests.workload import BRIEF_MODEL, STREAM_MODEL, WHOLE_MODEL

_PROGRAM = INSTALLED / "litellm" / "bin" / "litellm"
_KEY = "sk-benchmark"


class LiteLLM:
    """One worker, master key, no database, telemetry off, logs at their production level."""

    name = "litellm"
    note = "litellm[proxy], --num_workers 1, master key, no database, LITELLM_LOG=ERROR, telemetry off"

    def absent(self) -> str | None:
        """Needs its environment."""
        return missing(_PROGRAM, self.name)

    def version(self) -> str:
        """The wheel's."""
        return wheel_version(self.name, self.name)

    def setup(self, site: Site) -> Setup:
        """Its config names the benchmark's models."""
        params = {"api_base": f"{site.upstream_url}/v1", "api_key": "upstream"}
        models = [
            {"model_name": name, "litellm_params": {"model": f"openai/{name}", **params}}
            for name in (WHOLE_MODEL, STREAM_MODEL, BRIEF_MODEL)
        ]
        config = site.folder / "litellm.yaml"
        # JSON is YAML.
        config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": _KEY}}))
        argv = (str(_PROGRAM), "--config", str(config), "--host", "127.0.0.1", "--port", str(site.port))
        env = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
        ready = f"http://127.0.0.1:{site.port}/health/liveliness"
        launch = Launch((*argv, "--num_workers", "1", "--telemetry", "False"), ready, env, patience=120)
        return Setup(launch, site.port, (("authorization", f"Bearer {_KEY}"),))
