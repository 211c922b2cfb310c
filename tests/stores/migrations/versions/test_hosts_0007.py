"""The seventh migration, there and back."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect

from app.stores.migrate import FOLDER


def test_it_can_be_undone(tmp_path: Path) -> None:
    """Its table is gone afterwards, the others stay."""
    engine = create_engine(f"sqlite:///{tmp_path}/x.db")
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    for direction, to, there in ((command.upgrade, "0007", True), (command.downgrade, "0006", False)):
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            direction(config, to)
        assert inspect(engine).has_table("hosts") == there
        assert inspect(engine).has_table("rollouts")
    engine.dispose()
