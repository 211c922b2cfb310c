"""Migrations, one at a time, in a SQLite file of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, Inspector, create_engine, inspect

from app.stores.migrate import FOLDER


def configured() -> Config:
    """Alembic's configuration; it works on the connection in its attributes."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    return config


def there_and_back(folder: Path, before: str, revision: str) -> Iterator[tuple[bool, Inspector]]:
    """The database with a migration applied, then with it undone, and whether it is applied."""
    engine = create_engine(f"sqlite:///{folder}/x.db")
    _move(engine, before)
    for there in (True, False):
        _move(engine, revision if there else before, back=not there)
        yield there, inspect(engine)
    engine.dispose()


def _move(engine: Engine, to: str, *, back: bool = False) -> None:
    config = configured()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if back else command.upgrade)(config, to)
