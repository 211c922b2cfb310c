"""How the detector process is to run."""

from __future__ import annotations

from typing import NamedTuple


class Models(NamedTuple):
    """`profile` names the weights and encoders; `queue` bounds what waits; `threads` run the models."""

    profile: str = "full"
    queue: int = 256
    threads: int = 1
