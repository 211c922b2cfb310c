"""The first migration, there and back."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect

from app.stores.migrate import FOLDER


def test_it_can_be_undone(tmp_path: Path) -> None:
    """Its tables are gone afterwards."""
    engine = create_engine(f"sqlite:///{tmp_path}/x.db")
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    for direction, tables in ((command.upgrade, {"ledger", "usage_daily"}), (command.downgrade, set())):
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            direction(config, "0001" if direction is command.upgrade else "base")
        assert set(inspect(engine).get_table_names()) - {"alembic_version"} == tables
    engine.dispose()
