"""Portkey's open gateway on Node."""

from __future__ import annotations

import json

from loadtests.peers.base import INSTALLED, Setup, Site, missing, node
from loadtests.server import Launch

_FOLDER = INSTALLED / "portkey" / "node_modules" / "@portkey-ai" / "gateway"


class Portkey:
    """Headless, in production mode; provider and host come with each request, as its callers send them."""

    name = "portkey"
    note = "NODE_ENV=production --headless; provider openai, the upstream as x-portkey-custom-host"

    def absent(self) -> str | None:
        """Needs node and its package."""
        if node() is None:
            return "node is not installed"
        return missing(_FOLDER / "build" / "start-server.js", self.name)

    def version(self) -> str:
        """The package's."""
        return str(json.loads((_FOLDER / "package.json").read_text())["version"])

    def setup(self, site: Site) -> Setup:
        """The loopback upstream has to be trusted by name; callers say where to go, and as whom."""
        argv = (str(node()), str(_FOLDER / "build" / "start-server.js"), f"--port={site.port}", "--headless")
        env = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
        host = ("x-portkey-custom-host", f"{site.upstream_url}/v1")
        headers = (("authorization", "Bearer upstream"), ("x-portkey-provider", "openai"), host)
        return Setup(Launch(argv, f"http://127.0.0.1:{site.port}/", env), site.port, headers)
