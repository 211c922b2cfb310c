"""What `route` decides and `call` carries out."""

from __future__ import annotations

from typing import NamedTuple

from app.exchange import Arm
from app.table import Deployment


class Plan(NamedTuple):
    """The deployments to try, in order, each with the role that it would serve in. Never empty."""

    choices: tuple[tuple[Arm, Deployment], ...]
