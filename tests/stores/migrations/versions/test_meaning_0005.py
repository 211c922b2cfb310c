"""The migration of meanings and texts, there and back."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect

from app.stores.migrate import FOLDER
from app.stores.migrations.versions import meaning_0005


def test_it_can_be_undone(tmp_path: Path) -> None:
    """Its columns are gone afterwards, the table stays."""
    engine = create_engine(f"sqlite:///{tmp_path}/x.db")
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    own = {"meaning", "primary_text", "shadow_text"}
    for direction, to, there in (
        (command.upgrade, meaning_0005.revision, own),
        (command.downgrade, meaning_0005.down_revision, set()),
    ):
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            direction(config, to)
        columns = {column["name"] for column in inspect(engine).get_columns("shadow_comparisons")}
        assert columns & own == there
        assert "similarity" in columns
    engine.dispose()
