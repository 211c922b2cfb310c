"""Migrations are one line: two changes that were made beside each other must be put behind each other."""

from __future__ import annotations

import re

from app.stores.migrate import FOLDER


def test_every_migration_follows_the_one_before() -> None:
    """Numbered without a gap or a double, each naming its predecessor, as their files' names say."""
    found = []
    for file in FOLDER.glob("versions/*_*.py"):
        if not file.name.startswith("__"):
            text = file.read_text()
            own, before = (
                re.search(rf'^{name}(?::.*)? = "?(\w+)"?$', text, re.MULTILINE)
                for name in ("revision", "down_revision")
            )
            assert own, file
            assert before, file
            found.append((own[1], before[1], file.stem.rpartition("_")[2]))
    numbers = [f"{number:04}" for number in range(1, len(found) + 1)]
    assert sorted(found) == [(own, before, own) for own, before in zip(numbers, ["None", *numbers], strict=False)]
