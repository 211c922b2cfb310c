"""Alembic's environment: it works on the connection that it is given, no other."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect

from app.stores.migrate import FOLDER


def test_it_works_on_the_connection_that_it_is_given() -> None:
    """A database in memory exists in one connection only."""
    engine = create_engine("sqlite://")
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        assert inspect(connection).has_table("ledger")
    engine.dispose()
