"""Set-up's last step."""

from __future__ import annotations

import pytest

from tests.safety.models.conftest import Run


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_says_where_the_encoder_is(with_extra: Run) -> None:
    """Set-up has converted it already; saying so takes a second."""
    said = with_extra("from app.safety.models import prepare; prepare.main()")
    assert said.startswith("setup: the encoder is at ")
    assert said.rstrip().endswith("MB)")
