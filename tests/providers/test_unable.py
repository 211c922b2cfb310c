"""What a provider does not have, and bodies that cannot be written."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import GatewayError
from app.exchange import UPSTREAM_OPERATIONS, Operation
from app.providers.unable import unable, written
from tests.pipeline.parts import call, deployment


@pytest.mark.parametrize("operation", UPSTREAM_OPERATIONS)
def test_every_operation_has_a_refusal(operation: Operation) -> None:
    """The model is to blame."""
    error = unable(call()._replace(operation=operation), deployment())
    assert (error.status, error.param) == (400, "model")
    assert "`vllm`" in error.message


def test_what_is_too_deep_is_the_callers_fault() -> None:
    """orjson reads deeper than it writes."""
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    with pytest.raises(GatewayError, match="nested"):
        written({"x": deep})
    assert written({"a": 1}) == b'{"a":1}'
