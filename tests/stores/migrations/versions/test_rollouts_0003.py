"""The third migration, there and back."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect

from app.stores.migrate import FOLDER

TABLES = {
    "rollouts", "rollout_evidence", "rollout_units", "rollout_batches", "rollout_log", "rollout_answers", "leases",
    "feedback",
}  # fmt: skip


def test_it_can_be_undone(tmp_path: Path) -> None:
    """Its tables are gone afterwards, the others stay."""
    engine = create_engine(f"sqlite:///{tmp_path}/x.db")
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    before: set[str] = set()
    for direction, to, tables in (
        (command.upgrade, "0002", set()),
        (command.upgrade, "0003", TABLES),
        (command.downgrade, "0002", set()),
    ):
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            direction(config, to)
        before = before or set(inspect(engine).get_table_names())
        assert set(inspect(engine).get_table_names()) - before == tables
    engine.dispose()
