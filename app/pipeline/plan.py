"""What `route` decides and `call` carries out."""

from __future__ import annotations

from typing import NamedTuple

from app.table import Choices, Shadow, Split


class Plan(NamedTuple):
    """The deployments to try, in order, each with the role that it would serve in. Never empty.

    `split` is the division that assigned the request to the arm of its first choice, None where nothing was drawn:
    there is no candidate, or the caller pinned a deployment. `place` is where the request's sticky unit lies in [0, 1),
    which names the unit too; None where the request was drawn by itself. `shadow` gets a copy, if any does.
    """

    choices: Choices
    split: Split | None = None
    place: float | None = None
    shadow: Shadow | None = None
