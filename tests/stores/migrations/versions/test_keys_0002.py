"""The second migration, there and back."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect

from app.stores.migrate import FOLDER


def test_it_can_be_undone(tmp_path: Path) -> None:
    """Its tables are gone afterwards, the ledger stays."""
    engine = create_engine(f"sqlite:///{tmp_path}/x.db")
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    added = {"tenants", "keys", "audit"}
    for direction, to, tables in ((command.upgrade, "0002", added), (command.downgrade, "0001", set())):
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            direction(config, to)
        assert set(inspect(engine).get_table_names()) - {"alembic_version", "ledger", "usage_daily"} == tables
    engine.dispose()
