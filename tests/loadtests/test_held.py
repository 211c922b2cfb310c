"""Streams that stay open, few of them, through a real worker."""

from __future__ import annotations

import pytest

from loadtests import held
from loadtests.line import Answer, Shot


@pytest.mark.timeout(120)
def test_all_are_held_and_leave(capsys: pytest.CaptureFixture[str]) -> None:
    """Two sockets each, memory told for one."""
    assert held.main(["--streams", "40", "--seconds", "6"]) == 0
    text = capsys.readouterr().out
    assert "40 streams open at once" in text
    assert "KiB a stream" in text
    sockets = int(text.split(" sockets")[0].rsplit(" ", 1)[1])
    assert sockets >= 80


def test_a_stream_that_ends_by_itself_is_a_fault() -> None:
    """It was not held."""
    assert held.fault(Answer(Shot(b""), status=200, events=3)) is not None
    assert held.fault(Answer(Shot(b""), status=503, left=True)) is not None
    assert held.fault(Answer(Shot(b""), status=200, left=True)) == "no event came"
    assert held.fault(Answer(Shot(b""), status=200, left=True, events=1)) is None
