"""What the comparison needs to know of a gateway."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from loadtests.server import Launch

REPOSITORY = Path(__file__).resolve().parents[2]
INSTALLED = REPOSITORY / ".peers"
"""Where `scripts/peers/setup.sh` puts them."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a gateway is started with: its port, the upstream's port, an empty folder of its own.

    What else it needs to run beside it is entered into `beside`, and ends after it.
    """

    port: int
    upstream: int
    folder: Path
    beside: ExitStack = field(default_factory=ExitStack)

    @property
    def upstream_url(self) -> str:
        """The upstream's address without a path."""
        return f"http://127.0.0.1:{self.upstream}"


@dataclass(frozen=True, slots=True)
class Setup:
    """How to start a gateway (None: nothing to start), the port that takes requests, and what its callers must send."""

    launch: Launch | None
    port: int
    headers: tuple[tuple[str, str], ...] = ()


class Peer(Protocol):
    """One gateway. `note` says how it is set up, for the table's foot."""

    name: str
    note: str

    def absent(self) -> str | None:
        """Why it cannot take part here; None if it can."""

    def version(self) -> str:
        """The installed version."""

    def setup(self, site: Site) -> Setup:
        """How to start it, and how to call it."""


class Direct:
    """No gateway: the generator asks the upstream itself."""

    name = "direct"
    note = "the upstream itself; what the others add is counted from here"

    def absent(self) -> str | None:
        """Always there."""
        return None

    def version(self) -> str:
        """It has none."""
        return "-"

    def setup(self, site: Site) -> Setup:
        """Nothing to start."""
        return Setup(None, site.upstream)


def wheel_version(environment: str, package: str) -> str:
    """The version of a package in `.peers/ENVIRONMENT`, from its metadata folder; `?` if it is not there."""
    prefix = package.replace("-", "_")
    found = sorted((INSTALLED / environment).glob(f"lib/python3*/site-packages/{prefix}-*.dist-info"))
    return found[-1].name.removeprefix(f"{prefix}-").removesuffix(".dist-info") if found else "?"


def missing(path: Path, name: str) -> str | None:
    """Why a peer whose program is `path` cannot run, or None."""
    return None if path.exists() else f"not installed: scripts/peers/setup.sh {name}"


def node() -> str | None:
    """Node's program, None where there is none."""
    return shutil.which("node")
