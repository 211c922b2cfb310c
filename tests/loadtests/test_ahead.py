"""Short requests beside long ones, briefly, through a real worker."""

from __future__ import annotations

import pytest

from loadtests import ahead


@pytest.mark.timeout(120)
def test_both_are_answered_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    """A long prompt each second is among them."""
    assert ahead.main(["--seconds", "1.5", "--connections", "2", "--tokens", "20000"]) == 0
    text = capsys.readouterr().out
    assert "the long ones: 0 answers" not in text
    assert "times that of alone" in text
