"""What `route` decides and `call` carries out."""

from __future__ import annotations

from dataclasses import dataclass

from app.exchange import Arm
from app.table import Deployment


@dataclass(frozen=True, slots=True)
class Plan:
    """The deployments to try, in order, each with the role that it would serve in. Never empty."""

    choices: tuple[tuple[Arm, Deployment], ...]
