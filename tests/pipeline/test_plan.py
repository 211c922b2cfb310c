"""The plan: a value, in the order in which it is carried out."""

from __future__ import annotations

import pytest

from app.exchange import Arm
from app.pipeline.plan import Plan
from tests.pipeline.parts import deployment


def test_a_plan_is_a_value() -> None:
    """Equal choices make equal plans, and no stage can change one that another holds."""
    one, two = deployment("one"), deployment("two")
    plan = Plan(((Arm.STABLE, one), (Arm.FALLBACK, two)))
    assert plan == Plan(((Arm.STABLE, one), (Arm.FALLBACK, two)))
    assert plan != Plan(((Arm.FALLBACK, two), (Arm.STABLE, one)))
    with pytest.raises(AttributeError):
        plan.choices = ()  # type: ignore[misc]  # that is the point
