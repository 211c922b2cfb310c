"""The fake services, one process for all tests of this folder, and what asks them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from app.providers.transport import HttpTransport
from tests.support.safety_services import SafetyServices


@pytest.fixture(scope="module")
def services() -> Iterator[SafetyServices]:
    """The process."""
    with SafetyServices() as running:
        yield running


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    """A transport of this test's loop."""
    made = HttpTransport()
    yield made
    await made.aclose()
