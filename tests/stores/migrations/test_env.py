"""Alembic's environment: it works on the connection that it is given, inside its transaction."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from sqlalchemy import create_engine, inspect

from tests.support.migrations import configured


def test_a_migration_that_is_rolled_back_leaves_nothing(tmp_path: Path) -> None:
    """The connection's own transaction holds everything."""
    engine = create_engine(f"sqlite:///{tmp_path}/x.db")
    config = configured()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        with connection.begin() as transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # as migrate.upgrade does
            command.upgrade(config, "head")
            assert inspect(connection).has_table("ledger")
            transaction.rollback()
    assert not inspect(engine).has_table("ledger")
    engine.dispose()
