"""The encoders of the `safety` extra."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.safety.models.encoders import _unit, cache_folder
from tests.safety.models.conftest import Run

PARALLEL = """
import json, numpy as np
from app.safety.models.encoders import E5, Use, language_of
texts = ["Where is the nearest station?", "Wo ist der nächste Bahnhof?", "一番近い駅はどこですか。", "I like cheese."]
for encode in (Use(), E5()):
    rows = encode(texts)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)
    again = encode([texts[2]])[0]
    assert float(again @ rows[2]) > 0.99, "alone or together, long or short beside it"
    like = rows @ rows.T
    print(json.dumps([float(like[0, 1]), float(like[0, 2]), float(like[0, 3])]))
tell = language_of()
print(json.dumps([tell(text) for text in texts]))
"""


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """By one variable, else where the user keeps caches."""
    monkeypatch.setenv("SLUICEGATE_CACHE", "/somewhere/else")
    assert cache_folder() == Path("/somewhere/else")
    monkeypatch.delenv("SLUICEGATE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/sluicegate")


def test_rows_are_made_of_length_one() -> None:
    """A row of zeros stays what it is."""
    rows = _unit(np.array([[3, 4], [0, 0]], np.float32))
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_same_question_in_other_languages_is_near(with_extra: Run) -> None:
    """For both encoders; and the languages are told apart."""
    use, e5, languages = with_extra(PARALLEL).splitlines()
    for line in (use, e5):
        german, japanese, cheese = map(float, line.strip("[]").split(","))
        assert min(german, japanese) > cheese + 0.05
    assert languages == '["en", "de", "ja", "en"]'
